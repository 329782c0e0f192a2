//! What the tests of Jobshop share: a database of their own and waiting without sleeping. The tests
//! themselves are in `tests/`, one file a subject.

pub mod app;
pub mod caller;
pub mod chaos;
pub mod command_line;
pub mod database;
pub mod fleet;
pub mod git;
pub mod journal;
pub mod model;
pub mod model_server;
pub mod own_cluster;
pub mod pooler;
pub mod proxy;
pub mod server;
pub mod stage;
pub mod truth;
pub mod wait;

pub use app::{Answer, TestApp};
pub use caller::Caller;
pub use command_line::CommandLine;
pub use database::TestDb;
pub use fleet::Fleet;
pub use git::git;
pub use journal::Journal;
pub use own_cluster::OwnCluster;
pub use pooler::PgBouncer;
pub use proxy::Proxy;
pub use stage::Stage;
