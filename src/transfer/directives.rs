//! The site's directives at the head of a transfer job.

/// The placeholder for the caller's account in a directive.
const ACCOUNT: &str = "{account}";

/// The longest account, in bytes.
const MAX_ACCOUNT: usize = 255;

/// The directives of a site with the caller's account filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives(String);

impl Directives {
    /// Replaces each `{account}` in `lines` by `account`; if there is none, the account is not checked.
    ///
    /// # Errors
    /// If an account is required, and it is missing or could mean more to the scheduler than an account.
    pub fn new(lines: &[String], account: Option<&str>) -> Result<Self, AccountError> {
        let mut text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        if text.contains(ACCOUNT) {
            let account = account.filter(|account| !account.is_empty()).ok_or(AccountError::Missing)?;
            if !is_account(account) {
                return Err(AccountError::Invalid);
            }
            text = text.replace(ACCOUNT, account);
        }
        Ok(Self(text))
    }

    /// The directives, each on a line of its own.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a scheduler can read nothing but a name out of `account`: blanks would begin another option, `,`, `:`, `=` and `/`
/// another part of a resource list, a line break another directive.
fn is_account(account: &str) -> bool {
    account.len() <= MAX_ACCOUNT
        && !account.starts_with('-')
        && account.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'))
}

/// Why an account cannot be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The site requires one. The text is contract.
    #[error("Account parameter is required on this system.")]
    Missing,
    /// It is no name for an account.
    #[error("it is no name of an account: 1 to 255 letters, digits and `. _ - @ +`, of which `-` is not the first")]
    Invalid,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn an_account_is_filled_in_wherever_it_is_wanted() {
        let wanted = lines(&["#SBATCH --account={account}", "#SBATCH --nodes=1", "#SBATCH --comment={account}"]);
        let directives = Directives::new(&wanted, Some("g.a_1-x")).unwrap();
        assert_eq!(directives.as_str(), "#SBATCH --account=g.a_1-x\n#SBATCH --nodes=1\n#SBATCH --comment=g.a_1-x\n");
    }

    #[test]
    fn an_account_that_is_wanted_and_absent_or_empty_is_refused() {
        let wanted = lines(&["#SBATCH --account={account}"]);
        assert_eq!(Directives::new(&wanted, None), Err(AccountError::Missing));
        assert_eq!(Directives::new(&wanted, Some("")), Err(AccountError::Missing));
    }

    #[test]
    fn an_account_cannot_add_an_option_or_a_directive() {
        let wanted = lines(&["#PBS -A {account}"]);
        for account in ["a b", "a\n#PBS -l x", "a\r", "-x", "a;b", "a:b", "a,b", "a=b", "../a", "ä", "a#", "$(id)", "'", &"a".repeat(256)]
        {
            assert_eq!(Directives::new(&wanted, Some(account)), Err(AccountError::Invalid), "{account:?}");
        }
    }

    #[test]
    fn an_account_that_no_directive_wants_is_not_looked_at() {
        assert_eq!(Directives::new(&lines(&["#PBS -V"]), Some("a b")).unwrap().as_str(), "#PBS -V\n");
        assert_eq!(Directives::new(&[], None).unwrap().as_str(), "");
    }
}
