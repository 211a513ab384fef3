//! Settings of TLS for storages that speak it: which certificates are trusted, and sessions that are taken up again.

use std::sync::Arc;

use nxs_base::{Error, ErrorKind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::net::Server;

/// One configuration for all connections of a storage, so that data connections take up the session of theirs.
/// Trusts the certificates in `ca_file`, else those of the system; with `verify` off, whoever answers.
pub(crate) fn client_config(
    server: &Server,
    verify: bool,
    ca_file: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>> {
    let failed = |e: rustls::Error| {
        Error::new(ErrorKind::Other, format!("cannot set up TLS for {server}")).with_source(e)
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(failed)?;
    let builder = if verify {
        builder.with_root_certificates(roots(server, ca_file)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}

pub(crate) fn server_name(server: &Server) -> Result<ServerName<'static>> {
    ServerName::try_from(server.host.clone()).map_err(|e| {
        let message = format!("`{}` of {server} cannot stand in a certificate", server.host);
        Error::new(ErrorKind::Invalid, message).with_source(e)
    })
}

fn roots(server: &Server, ca_file: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        // Systems carry certificates that nobody can read; those that can be are enough.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let message = format!("cannot check the certificate of {server}: the system trusts none");
            return Err(Error::new(ErrorKind::Invalid, message)
                .with_hint("Install the package `ca-certificates`, or set `ca_file`."));
        }
        return Ok(roots);
    };
    let failed = |why: String| {
        Error::new(ErrorKind::Invalid, format!("cannot use `{path}` as `ca_file` of {server}: {why}"))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
    for certificate in certificates {
        roots.add(certificate.map_err(|e| failed(e.to_string()))?).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    Ok(roots)
}

/// Trusts every certificate; what is signed with its key is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
