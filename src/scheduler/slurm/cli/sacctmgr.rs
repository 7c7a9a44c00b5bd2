//! sacctmgr(1): the accounts that a user may charge.

use super::slurm_command;
use crate::domain::{Account, Username, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the accounts of a user on one cluster; several clusters may share a database.
pub(super) struct Accounts<'a> {
    /// The user.
    pub(super) user: &'a Username,
    /// The cluster's name as Slurm has it.
    pub(super) cluster: &'a str,
}

impl RemoteCommand for Accounts<'_> {
    type Output = Vec<Account>;

    fn command_line(&self) -> CommandLine {
        slurm_command("sacctmgr")
            .flag("--noheader")
            .flag("--parsable2")
            .flag("show")
            .flag("user")
            .option("name", self.user.as_str())
            .flag("withassoc")
            .flag("format=Cluster,DefaultAccount,Account")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let mut accounts: Vec<Account> = Vec::new();
        // Account and cluster names are the administrator's, in letters, digits, `_` and `-`.
        for line in bytes_to_text(&raw.stdout).lines() {
            let mut fields = line.split('|');
            let (Some(cluster), Some(default), Some(name), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
                // A greeting of the login shell.
                continue;
            };
            // A user has several associations with an account where they differ by partition.
            if cluster == self.cluster && !name.is_empty() && !accounts.iter().any(|account| account.name == name) {
                accounts.push(Account { name: name.to_owned(), default: name == default });
            }
        }
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::accounting_is_off;
    use super::super::golden::{RELEASES, recorded};
    use super::*;

    fn parse(raw: RawOutput, cluster: &str) -> Result<Vec<Account>, CommandError> {
        Accounts { user: &Username::new("fireuser").unwrap(), cluster }.parse(raw)
    }

    #[test]
    fn recorded_accounts_are_read_with_the_default() {
        for (release, cluster) in RELEASES.into_iter().zip(["goldcrest2205", "goldcrest2411"]) {
            let account = |name: &str, default| Account { name: name.to_owned(), default };
            let accounts = parse(recorded(release, "all.sacctmgr"), cluster).unwrap();
            assert_eq!(accounts, [account("fireuser", true), account("shared", false)], "{release}");
        }
    }

    #[test]
    fn accounts_on_another_cluster_do_not_count() {
        assert_eq!(parse(recorded("22.05", "all.sacctmgr"), "elsewhere").unwrap(), []);
    }

    #[test]
    fn a_cluster_without_accounting_is_told_apart_from_one_whose_database_is_down() {
        for release in RELEASES {
            assert!(accounting_is_off(&parse(recorded(release, "no-accounting.sacctmgr"), "c").unwrap_err()), "{release}");
            assert!(!accounting_is_off(&parse(recorded(release, "no-database.sacctmgr"), "c").unwrap_err()), "{release}");
        }
    }
}
