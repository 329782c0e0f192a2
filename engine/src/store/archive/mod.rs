//! Where sessions are archived: a folder or a bucket, and a compressed file for each session. It knows
//! neither when a session is archived nor what is read for it.

mod connector;
pub mod content;

use std::{io::Write as _, path::Path as FilePath, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use object_store::{
    ObjectStore, ObjectStoreExt as _, WriteMultipart, aws::AmazonS3Builder, local::LocalFileSystem,
    path::Path,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use url::Url;

use super::view::ReadError;
use crate::{duration::Span, id::SessionKey};

/// Bytes of an upload that are under way at once: so many parts of 5 MiB.
const PARTS_AT_ONCE: usize = 2;
/// Compressed bytes that are gathered before they are handed on.
const GATHERED_MAX: usize = 256 * 1024;

/// What this process does with sessions that ended long ago.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// `None` archives nothing here; another process may.
    pub archive: Option<Archive>,
    /// How long sessions are kept whose workflow does not say it; `None` keeps them for ever.
    pub after: Option<Span>,
}

/// A place for archives; cheap to clone.
#[derive(Debug, Clone)]
pub struct Archive {
    objects: Arc<dyn ObjectStore>,
    /// In front of the names of files, as an address and in the place itself.
    url: String,
    prefix: Path,
}

/// Why a session could not be archived.
#[derive(Debug, Error)]
pub enum ArchiveError {
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    #[error("the archive cannot be written or read")]
    Objects(#[from] object_store::Error),
    #[error("the session cannot be read")]
    Read(#[from] ReadError),
    #[error("the session cannot be put into words")]
    Words(#[from] serde_json::Error),
    #[error("the session cannot be compressed")]
    Compression(#[from] std::io::Error),
    #[error("something of the session has not ended")]
    Open,
}

/// Why a URL is no place for archives.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NoArchive(String);

impl Archive {
    /// A place by its URL: `file:///folder` or `s3://bucket/prefix`, the latter with what the usual
    /// `AWS_*` variables say. A folder is made; nothing is asked of a bucket.
    pub fn open(url: &str) -> Result<Self, NoArchive> {
        let wrong = |error: &dyn std::fmt::Display| NoArchive(error.to_string());
        let parsed = Url::parse(url).map_err(|error| wrong(&error))?;
        match parsed.scheme() {
            "file" => {
                let folder = parsed
                    .to_file_path()
                    .map_err(|()| NoArchive("write file:///folder".to_owned()))?;
                Self::folder(&folder)
            }
            "s3" => {
                let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| NoArchive("it names no bucket".to_owned()))?;
                let objects = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_http_connector(connector::Connector)
                    .build()
                    .map_err(|error| wrong(&error))?;
                let prefix = Path::from_url_path(parsed.path()).map_err(|error| wrong(&error))?;
                let url = format!("s3://{bucket}");
                Ok(Self { objects: Arc::new(objects), url, prefix })
            }
            other => Err(NoArchive(format!("`{other}://` is neither file:// nor s3://"))),
        }
    }

    /// A folder of this machine, which is made if need be.
    pub fn folder(folder: &FilePath) -> Result<Self, NoArchive> {
        let wrong = |error: &dyn std::fmt::Display| {
            NoArchive(format!("the folder {} cannot be used: {error}", folder.display()))
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

    /// The name of a session's file is fixed: written twice, it is one file.
    fn path(&self, key: SessionKey) -> Path {
        let name = format!("{}/{}.ndjson.gz", key.tenant, key.id);
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// Where the archive of a session is, as a URL.
    pub fn location(&self, key: SessionKey) -> String {
        format!("{}/{}", self.url, self.path(key))
    }

    /// Begins the file of a session. It stands there once it is finished, and not before.
    async fn begin(&self, key: SessionKey) -> Result<Writing, ArchiveError> {
        let upload = self.objects.put_multipart(&self.path(key)).await?;
        Ok(Writing {
            // No name and no time: the same lines are the same bytes.
            compressor: GzEncoder::new(Vec::new(), Compression::default()),
            upload: WriteMultipart::new(upload),
            digest: Sha256::new(),
            lines: 0,
        })
    }

    /// The bytes of a session's file, as they were written.
    pub async fn read(&self, key: SessionKey) -> Result<Vec<u8>, ArchiveError> {
        Ok(self.objects.get(&self.path(key)).await?.bytes().await?.to_vec())
    }
}

/// A file that is being written.
struct Writing {
    compressor: GzEncoder<Vec<u8>>,
    upload: WriteMultipart,
    digest: Sha256,
    lines: u64,
}

impl Writing {
    /// Adds a line: an object with one key, what it is about.
    async fn line(&mut self, kind: &str, what: &impl Serialize) -> Result<(), ArchiveError> {
        self.compressor.write_all(b"{")?;
        serde_json::to_writer(&mut self.compressor, kind)?;
        self.compressor.write_all(b":")?;
        serde_json::to_writer(&mut self.compressor, what)?;
        self.compressor.write_all(b"}\n")?;
        self.lines += 1;
        if self.compressor.get_ref().len() >= GATHERED_MAX {
            let gathered = std::mem::take(self.compressor.get_mut());
            self.send(&gathered).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.digest.update(bytes);
        self.upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        self.upload.write(bytes);
        Ok(())
    }

    /// Puts the file in its place and returns its SHA-256.
    async fn finish(mut self) -> Result<Vec<u8>, ArchiveError> {
        let lines = self.lines;
        self.line("end", &serde_json::json!({ "lines": lines })).await?;
        self.compressor.try_finish()?;
        let rest = std::mem::take(self.compressor.get_mut());
        self.send(&rest).await?;
        self.upload.finish().await?;
        Ok(self.digest.finalize().to_vec())
    }

    /// Leaves nothing behind, as far as the place lets.
    async fn give_up(self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(%error, "an archive that was not finished may have left a part of it");
        }
    }
}
