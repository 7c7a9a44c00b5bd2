//! Decides which user names of tokens are accepted. System accounts are not.
//!
//! It is decided where tokens become principals, so that it holds for every kind of SSH credential, for tokens that are made for
//! schedulers, and for service accounts.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::AuthnError;
use crate::domain::Username;

/// System accounts of Debian, Red Hat and cluster daemons. None of them belongs to a person.
const SYSTEM_ACCOUNTS: &str = "root toor admin administrator daemon bin sys sync shutdown halt adm games man lp mail news uucp operator proxy \
    www-data backup list irc gnats nobody nfsnobody ftp apache nginx sshd ssh messagebus dbus polkitd avahi chrony ntp rpc rpcuser statd tss \
    sssd nslcd ldap openldap kerberos munge slurm slurmrestd pbs pbsdata pbsadmin postgres mysql redis mongodb systemd systemd-network \
    systemd-resolve systemd-timesync systemd-coredump systemd-oom _apt _chrony uuidd tcpdump dnsmasq libvirt-qemu qemu docker kube etcd \
    ceph lustre beegfs weka nhc ganglia prometheus zabbix nagios icinga puppet ansible git jenkins";

/// The first number that is an ordinary user's id (`UID_MIN` of login.defs).
const FIRST_USER_ID: u64 = 1000;

/// A regular expression for whole user names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct UsernamePattern(Regex);

impl TryFrom<String> for UsernamePattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        Regex::new(&format!("^(?:{pattern})$"))
            .map(Self)
            .map_err(|_| "is no regular expression (allowed: such as [a-z][a-z0-9]{2,7})".to_owned())
    }
}

/// The default of `refused_usernames`.
pub fn system_accounts() -> Vec<String> {
    SYSTEM_ACCOUNTS.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Refuses the names of `refused_usernames`, numbers of system accounts unless that list is empty, and names that do not match the
/// site's pattern.
pub(super) fn check(username: &Username, refused_usernames: &[String], pattern: Option<&UsernamePattern>) -> Result<(), AuthnError> {
    let refused = |reason| Err(AuthnError::Username { username: username.clone(), reason });
    // Directory services take `root@local` for the local account.
    let account = username.as_str().split('@').next().unwrap_or_default();
    if refused_usernames.iter().any(|name| name.eq_ignore_ascii_case(account)) {
        return refused("it is the name of a system account (auth.authentication.refused_usernames)");
    }
    let number = account.trim_start_matches('+').parse::<u64>();
    if !refused_usernames.is_empty() && number.is_ok_and(|id| id < FIRST_USER_ID) {
        return refused("schedulers read it as the user id of a system account (auth.authentication.refused_usernames)");
    }
    match pattern {
        Some(UsernamePattern(pattern)) if !pattern.is_match(username.as_str()) => {
            refused("it does not match this site's pattern for user names (auth.authentication.username_pattern)")
        }
        _ => Ok(()),
    }
}
