//! The rules for accounting requests.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::InvalidRequest;
use super::text::Findings;
use crate::domain::{AccountingQuery, JobId};

/// The default time span if no start and no job is named, in seconds.
const DEFAULT_SPAN: i64 = 24 * 3600;
/// The maximum number of jobs that can be named at once.
const MAX_JOBS: usize = 1000;

/// A query for past jobs, unchecked.
#[derive(Clone, Debug, Default)]
pub struct AccountingRequest {
    /// The jobs of all users.
    pub all_users: bool,
    /// Only jobs charged to this account.
    pub account: Option<String>,
    /// Only these jobs, separated by commas.
    pub jobs: Option<String>,
    /// The start of the time span.
    pub since: Option<String>,
    /// The end of the time span.
    pub until: Option<String>,
}

impl AccountingRequest {
    /// The checked query, at the time `now`.
    ///
    /// # Errors
    /// Names every field that is wrong.
    pub(super) fn check(self, now: Timestamp) -> Result<AccountingQuery, InvalidRequest> {
        let mut findings = Findings::default();
        let account = findings.line("account", self.account, 255);
        let jobs = read_jobs(&mut findings, self.jobs.as_deref().unwrap_or_default());
        let mut point = |name, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty())?;
            let point = read_time(&text);
            if point.is_none() {
                let message = "write a date (2026-01-31), a time in UTC (2026-01-31T08:00:00) or with its offset (2026-01-31T09:00:00+01:00), or Unix seconds";
                findings.add(name, message);
            }
            point
        };
        let (since, until) = (point("since", self.since), point("until", self.until));
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            findings.add("until", "it is before `starttime`");
        }
        findings.into_result()?;
        let default = || jobs.is_empty().then(|| until.unwrap_or(now.as_second()) - DEFAULT_SPAN);
        Ok(AccountingQuery { all_users: self.all_users, account, since: since.or_else(default), until, jobs })
    }
}

fn read_jobs(findings: &mut Findings, list: &str) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for id in list.split(',').map(str::trim).filter(|id| !id.is_empty()) {
        match JobId::new(id) {
            Ok(id) => jobs.push(id),
            Err(error) => {
                findings.add("jobs", error.to_string());
                return jobs;
            }
        }
        if jobs.len() > MAX_JOBS {
            findings.add("jobs", format!("it names more than {MAX_JOBS} jobs"));
            return jobs;
        }
    }
    jobs
}

/// Unix seconds, from 1970 to 2106: Slurm keeps no others.
fn read_time(text: &str) -> Option<i64> {
    let seconds = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
    let civil = || match text.contains(['T', 't', ' ', ':']) {
        true => text.parse::<DateTime>().ok(),
        false => text.parse::<Date>().ok().map(|date| date.to_datetime(jiff::civil::Time::midnight())),
    };
    let time = seconds.or_else(|| text.parse().ok()).or_else(|| civil().and_then(utc)).map(Timestamp::as_second);
    time.filter(|seconds| u32::try_from(*seconds).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_769_846_400;

    fn check(request: AccountingRequest) -> Result<AccountingQuery, String> {
        let now = Timestamp::from_second(NOW).unwrap();
        request.check(now).map_err(|error| error.to_string())
    }

    #[test]
    fn times_are_read_in_every_form_that_is_offered() {
        for text in ["2026-01-31T08:00:00", "2026-01-31T08:00:00Z", "2026-01-31T09:00:00+01:00", "2026-01-31 08:00:00", "1769846400"] {
            assert_eq!(read_time(text), Some(NOW), "{text}");
        }
        assert_eq!(read_time("2026-01-31"), Some(NOW - 8 * 3600));
        for text in ["yesterday", "now-1hour", "2026-13-01", "12:00", "99999999999999999", "1;id"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_day_is_listed_where_neither_a_start_nor_a_job_is_named() {
        assert_eq!(check(AccountingRequest::default()).unwrap().since, Some(NOW - 86_400));
        let until = AccountingRequest { until: Some("1000000".to_owned()), ..AccountingRequest::default() };
        assert_eq!(check(until).unwrap().since, Some(1_000_000 - 86_400));
        let jobs = AccountingRequest { jobs: Some("1, 2_3,".to_owned()), ..AccountingRequest::default() };
        let query = check(jobs).unwrap();
        assert_eq!((query.jobs.len(), query.since), (2, None));
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let error = check(AccountingRequest {
            all_users: false,
            account: Some("a\nb".to_owned()),
            jobs: Some("1,-rf".to_owned()),
            since: Some("soon".to_owned()),
            until: Some("5".to_owned()),
        })
        .unwrap_err();
        for name in ["account", "jobs", "since"] {
            assert!(error.contains(name), "{error}");
        }
        let reversed = AccountingRequest { since: Some("9".to_owned()), until: Some("5".to_owned()), ..AccountingRequest::default() };
        assert!(check(reversed).unwrap_err().contains("before `starttime`"));
        let many = AccountingRequest { jobs: Some("1,".repeat(MAX_JOBS + 1)), ..AccountingRequest::default() };
        assert!(check(many).unwrap_err().contains("more than 1000 jobs"));
    }
}
