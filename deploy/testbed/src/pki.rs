//! The testbed's certificate authority, and what it signs: the servers' certificates, which clients verify, and the
//! clients', which say who they are (common name: user; organisation: group).
//!
//! Keys are made anew for every testbed and lie in its folder, which only its user may read.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::error::{Error, Result};

/// The paths of a certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority in a new folder, with the key that signs tokens of service accounts.
    pub(crate) fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(Error::io(format!("creating {}", folder.display())))?;
        let failed = || Error::certificate("the authority");
        let mut params = CertificateParams::new(Vec::new()).map_err(failed())?;
        params.distinguished_name.push(DnType::CommonName, "berth-testbed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed())?;
        let certificate = params.self_signed(&key).map_err(failed())?;
        write(&folder.join("ca.crt"), &certificate.pem())?;
        write(&folder.join("ca.key"), &key.serialize_pem())?;
        let tokens = KeyPair::generate().map_err(Error::certificate("service accounts"))?;
        write(&folder.join("service-accounts.key"), &tokens.serialize_pem())?;
        write(&folder.join("service-accounts.pub"), &tokens.public_key_pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A server's certificate for these host names, and for 127.0.0.1.
    pub(crate) fn server(&self, file: &str, hosts: &[&str]) -> Result<Certificate> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).map_err(Error::certificate(file))?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(file, params)
    }

    /// A client's certificate. Its name has room for one group only.
    pub(crate) fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<Certificate> {
        let mut params = CertificateParams::new(Vec::new()).map_err(Error::certificate(user))?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, params)
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> Result<Certificate> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate().map_err(Error::certificate(file))?;
        let signed = params.signed_by(&key, &self.issuer).map_err(Error::certificate(file))?;
        let paths = Certificate {
            certificate: self.path(&format!("{file}.crt")),
            key: self.path(&format!("{file}.key")),
        };
        write(&paths.certificate, &signed.pem())?;
        write(&paths.key, &key.serialize_pem())?;
        Ok(paths)
    }
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).map_err(Error::io(format!("writing {}", path.display())))
}
