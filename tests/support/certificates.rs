//! A certificate authority that lives as long as a test.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

/// An authority and a server it vouches for.
#[derive(Debug)]
pub struct Certificates {
    /// The authority, in PEM: what a client is told to trust.
    pub authority: String,
    /// The server's side, for `localhost` and `127.0.0.1`.
    pub server: ServerConfig,
}

impl Certificates {
    /// Makes new keys and certificates.
    ///
    /// # Panics
    /// When the machine has no randomness.
    pub fn generate() -> Self {
        let mut authority = params(&[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = key_pair();
        let certificate = authority.self_signed(&key).expect("sign the authority");
        let issuer = Issuer::new(authority, key);

        let server_key = key_pair();
        let server = params(&["localhost", "127.0.0.1"])
            .signed_by(&server_key, &issuer)
            .expect("sign the server's certificate");
        let server_key = PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes())
            .expect("read a key just written");
        let server = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], server_key)
            .expect("the key belongs to the certificate");
        Self {
            authority: certificate.pem(),
            server,
        }
    }
}

/// Certificates from the last century into the far future: no test depends on the date.
fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    CertificateParams::new(names).expect("plain names")
}

fn key_pair() -> KeyPair {
    KeyPair::generate().expect("generate a key")
}
