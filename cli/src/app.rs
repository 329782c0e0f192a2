//! What every command gets: the settings, the data directory and the output. It does not know the
//! commands.

use crate::client::{Client, Server};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct App {
    pub config: Config,
    pub output: Output,
}

impl App {
    pub fn data_dir(&self) -> Result<DataDir, Failure> {
        Ok(match &self.config.values.data_dir {
            Some(path) => DataDir::at(path),
            None => DataDir::resolve(),
        }?)
    }

    /// A client of the server that is named or runs here; without one the command fails.
    pub fn client(&self) -> Result<Client, Failure> {
        self.running_client()?.ok_or_else(Server::missing)
    }

    /// A client of the server that is named or runs here, if there is one.
    pub fn running_client(&self) -> Result<Option<Client>, Failure> {
        Server::find(&self.config, &self.data_dir()?)?.map(Client::new).transpose()
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        match &error {
            DataDirError::Unknown => Self::usage(error.to_string()),
            DataDirError::Unusable { source, .. } => Self::temporary(format!("{error}: {source}")),
            DataDirError::InUse { .. } => Self::new(Exit::Conflict, error.to_string())
                .hint("wait for it to end, or set JOBSHOP_DATA_DIR to another folder"),
        }
    }
}
