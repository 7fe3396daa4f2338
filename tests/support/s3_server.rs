//! An S3 server in the test process, on loopback, with or without TLS.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use repository::store::s3::{Credentials, S3Config, Trust};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{certificates::Certificates, s3_backend::Buckets};

/// The bucket that exists.
pub const BUCKET: &str = "backups";

/// Who may use it.
pub const ACCESS_KEY_ID: &str = "test-id";

/// Their secret.
pub const SECRET_ACCESS_KEY: &str = "test-secret";

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it holds.
    pub buckets: Buckets,
    /// The authority of its certificate, in PEM; empty without TLS.
    pub authority: String,
    tasks: JoinSet<()>,
}

impl S3Server {
    /// Starts a server without TLS on a free port.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), None)
            .await
            .expect("listen on loopback")
    }

    /// Starts a server with TLS, and an authority made for it, on a free port.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start_tls() -> Self {
        let certificates = Some(Certificates::generate());
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), certificates)
            .await
            .expect("listen on loopback")
    }

    /// Starts a server on `address`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(
        address: SocketAddr,
        certificates: Option<Certificates>,
    ) -> io::Result<Self> {
        let buckets = Buckets::default();
        buckets.create(BUCKET);
        let mut builder = S3ServiceBuilder::new(buckets.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();

        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (authority, tls) = match certificates {
            Some(certificates) => (
                certificates.authority,
                Some(TlsAcceptor::from(Arc::new(certificates.server))),
            ),
            None => (String::new(), None),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, service, tls));
        Ok(Self {
            address,
            buckets,
            authority,
            tasks,
        })
    }

    /// `http://` or `https://` and the address.
    pub fn endpoint(&self) -> String {
        let scheme = if self.authority.is_empty() {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Settings of a store in its bucket.
    pub fn config(&self) -> S3Config {
        let trust = if self.authority.is_empty() {
            Trust::System
        } else {
            Trust::Pem(self.authority.clone().into_bytes())
        };
        S3Config {
            trust,
            ..config(self.endpoint())
        }
    }

    /// Waits until the server ends, which it does not by itself.
    pub async fn wait(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Settings of a store at `endpoint`, with the keys that every server of the suites knows.
pub fn config(endpoint: String) -> S3Config {
    let credentials = Credentials::keys(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    S3Config {
        endpoint: Some(endpoint),
        path_style: true,
        prefix: "some/prefix".to_owned(),
        ..S3Config::new(BUCKET, credentials)
    }
}

/// Serves each connection in a task of its own; all end with the server.
async fn accept(listener: TcpListener, service: S3Service, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Answers are small; the client must not wait for more of them.
                stream.set_nodelay(true).expect("a TCP option");
                let service = service.clone();
                match tls.clone() {
                    None => connections.spawn(serve(stream, service)),
                    Some(tls) => connections.spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, service).await;
                        }
                    }),
                };
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection; that it breaks is the client's business.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    let builder = Builder::new(TokioExecutor::new());
    builder
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}
