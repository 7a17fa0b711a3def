//! Ways into a testbed's API server: as its administrator, as a user in groups, or as a service account with exactly the
//! roles that are bound to it. Each is a kubeconfig file, for programs, and a `kube::Config`, for tests.

use std::fs;
use std::path::{Path, PathBuf};

use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Client, Config};

use crate::error::{Error, Result};
use crate::pki::Certificate;

/// One identity at one API server.
#[derive(Clone, Debug)]
pub struct Access {
    path: PathBuf,
    kubeconfig: Kubeconfig,
}

impl Access {
    pub(crate) fn by_certificate(
        path: PathBuf,
        server: &str,
        ca: &Path,
        identity: &Certificate,
    ) -> Result<Self> {
        let user = AuthInfo {
            client_certificate: Some(identity.certificate.display().to_string()),
            client_key: Some(identity.key.display().to_string()),
            ..AuthInfo::default()
        };
        Self::write(path, server, ca, user)
    }

    pub(crate) fn by_token(path: PathBuf, server: &str, ca: &Path, token: String) -> Result<Self> {
        Self::write(path, server, ca, AuthInfo { token: Some(token.into()), ..AuthInfo::default() })
    }

    /// Somebody else, on behalf of whom this one acts.
    pub(crate) fn acting_as(&self, path: PathBuf, user: &str, groups: &[&str]) -> Result<Self> {
        let mut kubeconfig = self.kubeconfig.clone();
        for named in &mut kubeconfig.auth_infos {
            if let Some(auth) = &mut named.auth_info {
                auth.impersonate = Some(user.to_owned());
                auth.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
            }
        }
        Self::save(path, kubeconfig)
    }

    fn write(path: PathBuf, server: &str, ca: &Path, user: AuthInfo) -> Result<Self> {
        let cluster = Cluster {
            server: Some(server.to_owned()),
            certificate_authority: Some(ca.display().to_string()),
            ..Cluster::default()
        };
        let name = "berth-testbed".to_owned();
        let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
        let kubeconfig = Kubeconfig {
            api_version: Some("v1".to_owned()),
            kind: Some("Config".to_owned()),
            clusters: vec![NamedCluster {
                name: name.clone(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: name.clone(),
                auth_info: Some(user),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: name.clone(),
                context: Some(context),
                ..NamedContext::default()
            }],
            current_context: Some(name),
            ..Kubeconfig::default()
        };
        Self::save(path, kubeconfig)
    }

    fn save(path: PathBuf, kubeconfig: Kubeconfig) -> Result<Self> {
        // JSON is YAML too.
        let text = serde_json::to_vec_pretty(&kubeconfig).unwrap_or_default();
        fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(Self { path, kubeconfig })
    }

    /// The kubeconfig file, good for as long as the testbed lives.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.path
    }

    /// What a client is made of: change its timeouts or retries as needed.
    ///
    /// # Errors
    /// If the kubeconfig cannot be read any more.
    pub async fn config(&self) -> Result<Config> {
        Ok(Config::from_custom_kubeconfig(self.kubeconfig.clone(), &KubeConfigOptions::default()).await?)
    }

    /// A new client. Its connections belong to the runtime that it is made in, so every test makes its own.
    ///
    /// # Errors
    /// If the keys cannot be read any more.
    pub async fn client(&self) -> Result<Client> {
        Client::try_from(self.config().await?).map_err(Error::api("a client of the API server"))
    }
}
