//! Where sessions are archived: a folder or a bucket, and a compressed file for each session. It knows
//! neither when a session is archived nor what is read for it.

pub mod content;

use std::{io::Write as _, path::Path as FilePath};

use flate2::{Compression, write::GzEncoder};
use object_store::{ObjectStoreExt as _, WriteMultipart, path::Path};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{
    depot::{Depot, NoDepot},
    view::ReadError,
};
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
    place: Depot,
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

impl Archive {
    /// A place by its URL: `file:///folder` or `s3://bucket/prefix`, the latter with what the usual
    /// `AWS_*` variables say. A folder is made; nothing is asked of a bucket.
    pub fn open(url: &str) -> Result<Self, NoDepot> {
        Depot::open(url).map(|place| Self { place })
    }

    /// A folder of this machine, which is made if need be.
    pub fn folder(folder: &FilePath) -> Result<Self, NoDepot> {
        Depot::folder(folder).map(|place| Self { place })
    }

    /// The name of a session's file is fixed: written twice, it is one file.
    fn path(&self, key: SessionKey) -> Path {
        self.place.path(&format!("{}/{}.ndjson.gz", key.tenant, key.id))
    }

    /// Where the archive of a session is, as a URL.
    pub fn location(&self, key: SessionKey) -> String {
        self.place.location(&self.path(key))
    }

    /// Begins the file of a session. It stands there once it is finished, and not before.
    async fn begin(&self, key: SessionKey) -> Result<Writing, ArchiveError> {
        let upload = self.place.objects.put_multipart(&self.path(key)).await?;
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
        Ok(self.place.objects.get(&self.path(key)).await?.bytes().await?.to_vec())
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
