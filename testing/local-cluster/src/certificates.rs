//! The certificate authority of one control plane and the certificates that it issues.
//!
//! They are valid from 1975 to 4096, the default of rcgen, so that a test may run with a wrong clock.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey as _,
};
use yasna::models::ObjectIdentifier;

/// Certificate with its private key.
#[derive(Clone)]
pub(crate) struct IssuedCertificate {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// Key pair that signs and verifies service account tokens.
pub(crate) struct ServiceAccountKeys {
    pub(crate) private_pem: String,
    pub(crate) public_pem: String,
}

/// Certificate authority that issues the API server's certificate and its clients' certificates.
pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_der: Vec<u8>,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = distinguished_name("local-cluster");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for a server that clients reach by any of `names`, which are host names
    /// or IP addresses.
    pub(crate) fn issue_server(&self, names: Vec<String>) -> Result<IssuedCertificate, Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = distinguished_name("kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Issues a certificate with which a client authenticates as `user`, member of `groups`.
    pub(crate) fn issue_client(
        &self,
        user: &str,
        groups: &[&str],
    ) -> Result<IssuedCertificate, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = distinguished_name("placeholder");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let certificate = with_subject(signed.der(), user, groups, self.issuer.key())?;
        Ok(IssuedCertificate { certificate_pem: pem(&certificate), key_pem: key.serialize_pem() })
    }
}

impl ServiceAccountKeys {
    pub(crate) fn generate() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Replaces the subject of `certificate` by the one that Kubernetes reads as `user` in `groups`, and
/// signs the result with `key`.
///
/// Each group is an organization of the subject. rcgen can't write more than one, because its
/// `DistinguishedName` holds a single value of each type.
fn with_subject(
    certificate: &[u8],
    user: &str,
    groups: &[&str],
    key: &KeyPair,
) -> Result<Vec<u8>, Error> {
    const SUBJECT: usize = 5; // after version, serial number, algorithm, issuer, and validity
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
