//! Objects in S3: the configuration under `config/`, and downloads of anything else.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::Document;
use super::cache::{Cache, Kept, ago};
use super::failure::{Call, OrFailed, chain};
use crate::error::AwsFailure;
use crate::host::Objects;
use crate::report::{Freshness, Input};
use crate::settings::Role;
use crate::settings::keys::DEFAULT_CA_BUNDLE;
use crate::{Error, Result};

/// Where configuration lies in the artifact bucket.
const PREFIX: &str = "config/";
/// Most that is read of one object into memory: settings and CA bundles are a tenth of this.
const LARGEST: i64 = 4 << 20;
/// Name of the source, in reports and of the kept file.
const SOURCE: &str = "objects";

/// The configuration in the bucket, as far as it is known.
#[derive(Default)]
pub struct Configuration {
    /// Objects by key; what does not exist is not there.
    pub objects: BTreeMap<String, Document>,
    /// `ETag` by key of all that exists; `None` while the bucket cannot be listed.
    listing: Option<BTreeMap<String, String>>,
    kept: BTreeMap<String, Document>,
    notes: Vec<String>,
    freshness: Option<Freshness>,
}

/// The artifact bucket as the source of configuration.
pub struct Bucket<'a> {
    /// Client for it.
    pub client: &'a Client,
    /// Its name.
    pub name: &'a str,
    /// What is kept of it.
    pub cache: &'a Cache,
}

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    objects: BTreeMap<String, Document>,
}

impl Bucket<'_> {
    /// Lists `config/` and gets what the role always reads and is not kept in the same version.
    ///
    /// # Errors
    /// Where the role's document cannot be had and nothing is kept. That it does not exist is no error.
    pub async fn fetch(&self, role: Role) -> Result<Configuration> {
        let kept: Option<Kept<Saved>> = self.cache.load(SOURCE, self.name);
        let age = kept.as_ref().map(|kept| kept.age);
        let mut found = Configuration {
            kept: kept.map(|kept| kept.value.objects).unwrap_or_default(),
            ..Default::default()
        };
        match self.list().await {
            Ok(listing) => found.listing = Some(listing),
            Err(error) => {
                let Some(age) = age else { return Err(error) };
                found.freshness = Some(Freshness::Held);
                found.notes.push(format!("holding what was seen {}: {error}", ago(age)));
            }
        }
        let document = role.document_key();
        let (main, bundle) = tokio::join!(self.want(&document, &found), self.want(DEFAULT_CA_BUNDLE, &found));
        found.add(&document, main, age)?;
        // Whether this one is needed, the settings say later: then it is asked for again.
        if bundle.is_ok() || found.kept.contains_key(DEFAULT_CA_BUNDLE) {
            let _ = found.add(DEFAULT_CA_BUNDLE, bundle, age);
        }
        self.keep(&found);
        Ok(found)
    }

    /// Gets further objects, which the settings name. That one does not exist is noted.
    ///
    /// # Errors
    /// Where one exists, cannot be had, and nothing is kept: that is not to be taken for its absence.
    pub async fn fetch_more(&self, found: &mut Configuration, keys: &[&str]) -> Result<()> {
        for key in keys {
            if !found.objects.contains_key(*key) {
                let got = self.want(key, found).await;
                found.add(key, got, None)?;
            }
            let exists = found.listing.as_ref().map(|listing| listing.contains_key(*key));
            if exists != Some(true) && !found.objects.contains_key(*key) {
                let what =
                    if exists.is_none() { "was not seen before" } else { "does not exist: put it there" };
                found.missing(format!("s3://{}/{key} {what}", self.name));
            }
        }
        let read = |key: &String| found.objects.contains_key(key);
        found.kept.retain(|key, _| read(key));
        self.keep(found);
        Ok(())
    }

    /// Keeps what was got, and what an earlier run got and this one may still ask for.
    fn keep(&self, found: &Configuration) {
        let Some(listing) = &found.listing else { return };
        let mut objects = found.kept.clone();
        objects.retain(|key, _| listing.contains_key(key));
        objects.extend(found.objects.clone());
        self.cache.keep(SOURCE, self.name, &Saved { objects });
    }

    /// The object: kept, where its version is the listed one or no list could be had.
    async fn want(&self, key: &str, found: &Configuration) -> Result<Option<Document>> {
        let kept = found.kept.get(key);
        let Some(listing) = &found.listing else { return Ok(kept.cloned()) };
        let Some(etag) = listing.get(key) else { return Ok(None) };
        match kept.filter(|kept| kept.etag.as_ref() == Some(etag)) {
            Some(kept) => Ok(Some(kept.clone())),
            None => self.get(key).await,
        }
    }

    async fn list(&self) -> Result<BTreeMap<String, String>> {
        let call = Call {
            action: "s3:ListBucket",
            subject: format!("s3://{}/{PREFIX}", self.name),
            resource: format!("arn:aws:s3:::{}", self.name),
            make: "check the name of the artifact bucket in /etc/ops-agent/host.toml".into(),
        };
        let mut listing = BTreeMap::new();
        let mut token = None;
        loop {
            let page = self.client.list_objects_v2().bucket(self.name).prefix(PREFIX);
            let page = page.set_continuation_token(token).send().await.or_failed(&call)?;
            listing.extend(page.contents().iter().filter_map(|object| {
                Some((object.key()?.to_owned(), object.e_tag().unwrap_or_default().to_owned()))
            }));
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                return Ok(listing);
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Document>> {
        let call = get_call(self.name, key);
        let got = self.client.get_object().bucket(self.name).key(key).send().await.or_failed(&call);
        let object = match got {
            Ok(object) => object,
            // Deleted since the list.
            Err(Error::Aws { failure: AwsFailure::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if object.content_length().is_some_and(|length| length > LARGEST) {
            return Err(call.error(AwsFailure::Other, "it is larger than 4 MiB, so it is no configuration"));
        }
        let etag = object.e_tag().map(str::to_owned);
        let body = object.body.collect().await;
        let bytes = body.map_err(|error| call.error(AwsFailure::Unreachable, &chain(&error)))?.to_vec();
        let text = String::from_utf8(bytes)
            .map_err(|_| call.error(AwsFailure::Other, "it is not UTF-8 text; write it anew as text"))?;
        Ok(Some(Document { place: call.subject, text, etag }))
    }
}

impl Configuration {
    /// Adds what was got; where that failed, what is kept, and a note that says so.
    fn add(
        &mut self,
        key: &str,
        got: Result<Option<Document>>,
        age: Option<std::time::Duration>,
    ) -> Result<()> {
        let document = match got {
            Ok(document) => document,
            Err(error) => {
                let Some(kept) = self.kept.get(key).cloned() else {
                    self.missing(error.to_string());
                    return Err(error);
                };
                self.freshness.get_or_insert(Freshness::Held);
                let age = age.map(|age| format!(" of {}", ago(age))).unwrap_or_default();
                self.notes.push(format!("holding {key}{age}: {error}"));
                Some(kept)
            }
        };
        if let Some(document) = document {
            self.objects.insert(key.to_owned(), document);
        }
        Ok(())
    }

    fn missing(&mut self, note: String) {
        self.freshness = Some(Freshness::Missing);
        self.notes.push(note);
    }

    /// For the report.
    #[must_use]
    pub fn input(&self, bucket: &str) -> Input {
        let mut words: Vec<_> = self.objects.keys().map(String::as_str).collect();
        if words.is_empty() {
            words.push("nothing");
        }
        let mut detail = format!("{} from s3://{bucket}", words.join(", "));
        for note in &self.notes {
            detail.push_str("; ");
            detail.push_str(note);
        }
        Input { source: SOURCE.into(), freshness: self.freshness.unwrap_or(Freshness::Fresh), detail }
    }
}

fn get_call(bucket: &str, key: &str) -> Call {
    Call {
        action: "s3:GetObject",
        subject: format!("s3://{bucket}/{key}"),
        resource: format!("arn:aws:s3:::{bucket}/{key}"),
        make: "put it there, or correct the setting that names it".into(),
    }
}

/// [`Objects`] from S3.
pub struct S3Objects {
    /// Client for all buckets.
    pub client: Client,
}

#[async_trait]
impl Objects for S3Objects {
    async fn download(&self, bucket: &str, key: &str, to: &Path) -> Result<String> {
        let call = get_call(bucket, key);
        let object = self.client.get_object().bucket(bucket).key(key).send().await.or_failed(&call)?;
        let mut body = object.body;
        let write = |source| Error::io("write", to, source);
        let mut options = tokio::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(to).await.map_err(write)?;
        let mut hash = Sha256::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| {
                call.error(AwsFailure::Unreachable, &format!("the download broke off ({})", chain(&error)))
            })?;
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(write)?;
        }
        file.flush().await.map_err(write)?;
        Ok(hex::encode(hash.finalize()))
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
