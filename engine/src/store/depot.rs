//! Where files are kept that do not belong into the database: a folder or a bucket. It does not know
//! what the files are.

mod connector;

use std::{path::Path as FilePath, sync::Arc};

use object_store::{ObjectStore, aws::AmazonS3Builder, local::LocalFileSystem, path::Path};
use thiserror::Error;
use url::Url;

/// A folder or a bucket; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Depot {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// In front of the names of files, as an address and in the place itself.
    url: String,
    prefix: Path,
}

/// Why a URL is no place for files.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NoDepot(String);

impl Depot {
    /// A place by its URL: `file:///folder` or `s3://bucket/prefix`, the latter with what the usual
    /// `AWS_*` variables say. A folder is made; nothing is asked of a bucket.
    pub(super) fn open(url: &str) -> Result<Self, NoDepot> {
        let wrong = |error: &dyn std::fmt::Display| NoDepot(error.to_string());
        let parsed = Url::parse(url).map_err(|error| wrong(&error))?;
        match parsed.scheme() {
            "file" => {
                let folder = parsed
                    .to_file_path()
                    .map_err(|()| NoDepot("write file:///folder".to_owned()))?;
                Self::folder(&folder)
            }
            "s3" => {
                let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| NoDepot("it names no bucket".to_owned()))?;
                let objects = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_http_connector(connector::Connector)
                    .build()
                    .map_err(|error| wrong(&error))?;
                let prefix = Path::from_url_path(parsed.path()).map_err(|error| wrong(&error))?;
                let url = format!("s3://{bucket}");
                Ok(Self { objects: Arc::new(objects), url, prefix })
            }
            other => Err(NoDepot(format!("`{other}://` is neither file:// nor s3://"))),
        }
    }

    /// A folder of this machine, which is made if need be.
    pub(super) fn folder(folder: &FilePath) -> Result<Self, NoDepot> {
        let wrong = |error: &dyn std::fmt::Display| {
            NoDepot(format!("the folder {} cannot be used: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| wrong(&error))?;
        let folder = folder.canonicalize().map_err(|error| wrong(&error))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|error| wrong(&error))?;
        // What is removed from the database must be on the disk.
        let objects = objects.with_fsync(true);
        let url = Url::from_file_path(&folder)
            .map_err(|()| wrong(&"it has no URL"))?
            .as_str()
            .trim_end_matches('/')
            .to_owned();
        Ok(Self { objects: Arc::new(objects), url, prefix: Path::default() })
    }

    /// A file's name in here.
    pub(super) fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// Where that is, as a URL.
    pub(super) fn location(&self, path: &Path) -> String {
        format!("{}/{path}", self.url)
    }
}
