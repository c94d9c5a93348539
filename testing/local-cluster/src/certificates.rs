//! The certificate authority of one fixture and the certificates it signs.
//!
//! They are valid from 1975 to 4096, rcgen's default: a test may run on a clock that is off.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey as _,
};
use yasna::models::ObjectIdentifier;

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs the certificates of one fixture: the API server's and its clients'.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    certificate_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name("control-plane");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    pub(crate) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a server that is reached by any of `names`: host names or IP addresses.
    pub(crate) fn server(&self, names: Vec<String>) -> Result<Certificate, Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name("kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A certificate by which the API server knows its bearer as `user`, member of `groups`.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Certificate, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("to be replaced");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let certificate = with_subject(signed.der(), user, groups, self.issuer.key())?;
        Ok(Certificate { certificate: pem(&certificate), key: key.serialize_pem() })
    }
}

/// The key pair of service account tokens, PEM: the private key signs them, the public one verifies.
pub(crate) fn service_account_keys() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// `certificate`, signed anew, with the subject that Kubernetes reads as `user` in `groups`.
///
/// A group is an organization of the subject, and there may be many of them, but rcgen's
/// `DistinguishedName` holds one value of each type.
fn with_subject(
    certificate: &[u8],
    user: &str,
    groups: &[&str],
    key: &KeyPair,
) -> Result<Vec<u8>, Error> {
    const SUBJECT: usize = 5; // after version, serial number, algorithm, issuer and validity
    let [body, algorithm, _signature]: [Vec<u8>; 3] =
        elements(certificate)?.try_into().map_err(|_| Error::CouldNotParseCertificate)?;
    let mut fields = elements(&body)?;
    *fields.get_mut(SUBJECT).ok_or(Error::CouldNotParseCertificate)? = subject(user, groups);
    let body = sequence(&fields);
    let signature = key.sign(&body)?;
    let signature = yasna::construct_der(|writer| {
        writer.write_bitvec_bytes(&signature, signature.len() * 8);
    });
    Ok(sequence(&[body, algorithm, signature]))
}

fn subject(user: &str, groups: &[&str]) -> Vec<u8> {
    const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
    const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
    let groups = groups.iter().map(|group| (ORGANIZATION, *group));
    let parts: Vec<_> = groups.chain([(COMMON_NAME, user)]).collect();
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (kind, value) in parts {
                writer.next().write_set(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(kind));
                        writer.next().write_utf8_string(value);
                    });
                });
            }
        });
    })
}

fn elements(sequence: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    yasna::parse_der(sequence, |reader| reader.collect_sequence_of(|reader| reader.read_der()))
        .map_err(|_| Error::CouldNotParseCertificate)
}

fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for element in elements {
                writer.next().write_der(element);
            }
        });
    })
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}
