//! From the tree to the types of the language. Every value is read, whatever is wrong with the
//! others, and every problem is kept.

mod agent;
mod artifacts;
mod budget;
mod decompose;
mod fields;
mod limits;
mod prefers;
mod scalars;
mod task;
mod triggers;
mod verify;
mod words;
mod workflow;

use std::rc::Rc;

pub(super) use self::workflow::workflow;
use super::{problem::Problems, tree::Tree};

/// What can be read from a value. `name` is how the value is called in messages: its key.
trait Read: Sized {
    /// `None` when it cannot be read; the problem is kept then.
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self>;
}
