use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::inputs::Source;
use crate::inputs::aws::{self, Environment};

/// A bucket that lists the role's document and the CA bundle, and hands out only the first.
async fn bucket_that_denies_the_bundle() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 8192];
                let read = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split_whitespace().nth(1).unwrap_or_default();
                let (status, body) = if path.contains("list-type=2") {
                    let keys = ["config/rds-ca.pem", "config/sqlmesh-server.toml"];
                    let listed = keys.map(|key| {
                        format!(
                            "<Contents><Key>{key}</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
                        )
                    });
                    ("200 OK", format!("<ListBucketResult>{}</ListBucketResult>", listed.concat()))
                } else if path.contains("rds-ca.pem") {
                    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
                    ("403 Forbidden", denied.to_owned())
                } else {
                    ("200 OK", "ui.port = 8080".to_owned())
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn a_bundle_that_is_denied_is_not_taken_for_one_that_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let source = Source {
        root: root.path().into(),
        endpoint_url: Some(bucket_that_denies_the_bundle().await),
        region: None,
        keep: true,
    };
    let environment = Environment::new(
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let config = aws::config(&source, &environment, "us-west-2", None);
    let client = aws::s3(&source, &environment, &config);
    let cache = Cache::new(root.path());
    let bucket = Bucket { client: &client, name: "b", cache: &cache };
    let mut found = bucket.fetch(Role::SqlmeshServer).await.unwrap();
    assert!(found.objects.contains_key("config/sqlmesh-server.toml"));
    let error = bucket.fetch_more(&mut found, &[DEFAULT_CA_BUNDLE]).await.unwrap_err();
    assert!(matches!(error, Error::Aws { failure: AwsFailure::Denied, .. }), "{error}");
    assert!(!error.needs_a_person(), "a policy may not have reached every region yet");
}
