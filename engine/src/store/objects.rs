//! What tasks leave behind as files, each kept once for each content under its SHA-256. It does not
//! know whose they are.

use std::path::Path as FilePath;

use object_store::{GetResult, ObjectStoreExt as _, WriteMultipart, path::Path};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _};

use super::depot::{Depot, NoDepot};
use crate::id::TenantId;

/// What is kept in one piece, and read at once.
const PIECE_BYTES: u64 = 4 << 20;
const BUFFER_BYTES: usize = 256 * 1024;
/// Parts of an upload that are under way at once.
const PARTS_AT_ONCE: usize = 2;

/// The SHA-256 of a content, by which it is found.
pub type ContentId = [u8; 32];

/// A place for contents; cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    place: Depot,
}

/// Why a content could not be kept or read.
#[derive(Debug, Error)]
pub enum ObjectsError {
    #[error("the place for artifacts cannot be written or read")]
    Objects(#[from] object_store::Error),
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("the file changed while it was read")]
    Changed,
    #[error("no such content at {0}")]
    Missing(String),
}

impl Objects {
    /// A place by its URL, `file:///folder` or `s3://bucket/prefix`.
    pub fn open(url: &str) -> Result<Self, NoDepot> {
        Depot::open(url).map(|place| Self { place })
    }

    /// A folder of this machine, which is made if need be.
    pub fn folder(folder: &FilePath) -> Result<Self, NoDepot> {
        Depot::folder(folder).map(|place| Self { place })
    }

    fn path(&self, tenant: TenantId, id: &ContentId) -> Path {
        let hex = hex(id);
        self.place.path(&format!("{tenant}/{}/{hex}", &hex[..2]))
    }

    /// Where a content is, as a URL.
    pub fn location(&self, tenant: TenantId, id: &ContentId) -> String {
        self.place.location(&self.path(tenant, id))
    }

    /// Keeps a content; keeping it twice is harmless.
    pub async fn put(&self, tenant: TenantId, content: Vec<u8>) -> Result<ContentId, ObjectsError> {
        let id: ContentId = Sha256::digest(&content).into();
        let path = self.path(tenant, &id);
        if !self.has(&path, content.len() as u64).await? {
            self.place.objects.put(&path, content.into()).await?;
        }
        Ok(id)
    }

    /// The same with a file, which must not change meanwhile. Returns its size too.
    pub async fn put_file(
        &self,
        tenant: TenantId,
        mut file: impl AsyncRead + AsyncSeek + Unpin + Send,
    ) -> Result<(ContentId, u64), ObjectsError> {
        let mut begin = Vec::new();
        let read = (&mut file).take(PIECE_BYTES).read_to_end(&mut begin).await? as u64;
        if read < PIECE_BYTES {
            return Ok((self.put(tenant, begin).await?, read));
        }
        drop(begin);
        let (id, bytes) = digest(&mut file).await?;
        let path = self.path(tenant, &id);
        if !self.has(&path, bytes).await? {
            let upload = self.place.objects.put_multipart(&path).await?;
            let mut upload = WriteMultipart::new(upload);
            match send(&mut file, &mut upload).await {
                Ok(sent) if sent == id => upload.finish().await.map(drop)?,
                Ok(_) => {
                    upload.abort().await?;
                    return Err(ObjectsError::Changed);
                }
                Err(error) => {
                    upload.abort().await?;
                    return Err(error);
                }
            }
        }
        Ok((id, bytes))
    }

    /// Removes a content. One that is not there is no fault.
    pub async fn remove(&self, tenant: TenantId, id: &ContentId) -> Result<(), ObjectsError> {
        match self.place.objects.delete(&self.path(tenant, id)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Nothing is kept twice. What a crash cut short never got its name.
    async fn has(&self, path: &Path, bytes: u64) -> Result<bool, ObjectsError> {
        match self.place.objects.head(path).await {
            Ok(found) => Ok(found.size == bytes),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A content, to be read bit by bit.
    pub async fn get(&self, tenant: TenantId, id: &ContentId) -> Result<GetResult, ObjectsError> {
        let path = self.path(tenant, id);
        match self.place.objects.get(&path).await {
            Err(object_store::Error::NotFound { .. }) => {
                Err(ObjectsError::Missing(self.place.location(&path)))
            }
            found => Ok(found?),
        }
    }

    /// A content as a whole, which has to be small.
    pub async fn read(&self, tenant: TenantId, id: &ContentId) -> Result<Vec<u8>, ObjectsError> {
        Ok(self.get(tenant, id).await?.bytes().await?.to_vec())
    }
}

/// The SHA-256 and the size of a file, from its beginning.
async fn digest(
    file: &mut (impl AsyncRead + AsyncSeek + Unpin + Send),
) -> Result<(ContentId, u64), ObjectsError> {
    file.rewind().await?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Ok((digest.finalize().into(), bytes));
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Sends a file from its beginning, and returns what was sent.
async fn send(
    file: &mut (impl AsyncRead + AsyncSeek + Unpin + Send),
    upload: &mut WriteMultipart,
) -> Result<ContentId, ObjectsError> {
    file.rewind().await?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&buffer[..read]);
        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        upload.write(&buffer[..read]);
    }
}

/// The id as hexadecimal digits.
pub fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The id that so many hexadecimal digits stand for.
pub fn from_hex(text: &str) -> Option<ContentId> {
    let mut id = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}
