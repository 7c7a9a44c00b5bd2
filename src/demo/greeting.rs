//! The output of the demonstration once it is up: text for a person, or one line of JSON for a script.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::domain::{Secret, Username};

/// Takes the token out of a token endpoint's answer, for a shell. Tokens hold no quotes.
const TOKEN_OF_ANSWER: &str = r#"'s/.*"access_token":"\([^"]*\)".*/\1/'"#;

/// The file that the example job writes to, in its working directory: a name that is known before the job's id is.
const JOB_OUTPUT: &str = "goldcrest-hello.out";

/// The content of the greeting.
pub(super) struct Greeting<'a> {
    /// The API, without a slash at its end.
    pub(super) url: String,
    /// The issuer.
    pub(super) issuer: &'a str,
    /// The issuer's token endpoint.
    pub(super) token_url: &'a str,
    /// The SSH server.
    pub(super) ssh: SocketAddr,
    /// The account that commands run in.
    pub(super) user: &'a Username,
    /// The client for people.
    pub(super) client_id: &'a str,
    /// Its secret.
    pub(super) client_secret: &'a Secret,
    /// A token of that client.
    pub(super) token: &'a Secret,
    /// The lifetime of the token.
    pub(super) holds: Duration,
    /// The clusters.
    pub(super) systems: &'a [&'static str],
    /// The file systems, as text.
    pub(super) file_systems: Vec<String>,
    /// The working directory of the example job, as text.
    pub(super) work_dir: String,
}

/// The line for scripts. Its members are a promise: add, never rename.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    url: &'a str,
    docs: String,
    issuer: &'a str,
    token_url: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
    token: &'a str,
    systems: &'a [&'static str],
}

impl Greeting<'_> {
    /// Writes one line of JSON.
    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let line = Line {
            url: &self.url,
            docs: self.docs(),
            issuer: self.issuer,
            token_url: self.token_url,
            client_id: self.client_id,
            client_secret: self.client_secret.expose(),
            token: self.token.expose(),
            systems: self.systems,
        };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)
    }

    /// Writes the text, with headings set off where `colours` is set.
    pub(super) fn text(&self, out: &mut impl Write, colours: bool) -> io::Result<()> {
        let (bold, dim, plain) = if colours { ("\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m") } else { ("", "", "") };
        let heading = |out: &mut dyn Write, text: &str| writeln!(out, "\n{bold}{text}{plain}\n");
        let (user, url, system) = (self.user, &self.url, self.systems.first().copied().unwrap_or_default());

        writeln!(
            out,
            "{bold}Goldcrest {} is up: a complete system on this machine, for evaluation only.{plain}",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(out, "{dim}It runs commands as {user} for anyone who has the token or the secret below.{plain}\n")?;
        for (what, value) in [
            ("API", url.clone()),
            ("Documentation", format!("{} (Authorize: the client id and secret below, or the token as HTTPBearer)", self.docs())),
            ("Token issuer", self.issuer.to_owned()),
            ("Token endpoint", self.token_url.to_owned()),
            ("SSH server", format!("{}, commands and files as {user}", self.ssh)),
            ("Systems", self.systems.join(", ")),
            ("File systems", self.file_systems.join(", ")),
        ] {
            writeln!(out, "  {what:<15}{value}")?;
        }

        let (id, secret, token_url) = (self.client_id, self.client_secret.expose(), self.token_url);
        heading(out, "For the shell, as the user guide uses it")?;
        writeln!(out, "  export URL={url} TOKEN_URL={token_url} CLIENT_ID={id} CLIENT_SECRET={secret}")?;
        heading(out, &format!("A token, valid for {}", duration(self.holds)))?;
        writeln!(out, "  export TOKEN={}", self.token.expose())?;
        heading(out, "A new one, when it has ended")?;
        let renewal = format!("curl -sS -u {id}:{secret} -d grant_type=client_credentials {token_url}");
        writeln!(out, "  export TOKEN=$({renewal} | sed {TOKEN_OF_ANSWER})")?;

        heading(out, "The systems, a job, its state, its output")?;
        let job = json!({"job": {"name": "hello", "workingDirectory": self.work_dir, "standardOutput": JOB_OUTPUT, "script": "#!/bin/sh\necho Hello from $(hostname)\nsleep 20\n"}});
        let bearer = r#"curl -sS -H "Authorization: Bearer $TOKEN""#;
        writeln!(out, "  {bearer} {url}/status/systems")?;
        writeln!(out, "  {bearer} -H 'Content-Type: application/json' -d {} {url}/compute/{system}/jobs", quoted(&job.to_string()))?;
        writeln!(out, "  {bearer} {url}/compute/{system}/jobs")?;
        let path = quoted(&format!("path={}/{JOB_OUTPUT}", self.work_dir.trim_end_matches('/')));
        writeln!(out, "  {bearer} -G --data-urlencode {path} {url}/filesystem/{system}/ops/view")?;

        heading(out, "The same from Python (pip install pyfirecrest)")?;
        writeln!(out, "  import firecrest")?;
        writeln!(out, "  auth = firecrest.ClientCredentialsAuth({id:?}, {secret:?}, {token_url:?})")?;
        writeln!(out, "  client = firecrest.v2.Firecrest({url:?}, authorization=auth)")?;
        writeln!(out, "  print(client.systems())")?;
        // Python reads strings as JSON writes them.
        let (work_dir, script) = (json!(self.work_dir), json!("#!/bin/sh\nhostname\n"));
        writeln!(out, "  job = client.submit({system:?}, {work_dir}, script_str={script})")?;
        writeln!(out, "  print(client.wait_for_job({system:?}, job[\"jobId\"]))")?;

        writeln!(out, "\n{dim}Ctrl-C stops everything but batch jobs: those go on to their end, as on any cluster.{plain}")?;
        out.flush()
    }

    fn docs(&self) -> String {
        format!("{}/docs/", self.url)
    }
}

/// One word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_scripts_is_one_line_with_every_member() {
        let mut out = Vec::new();
        with_greeting(|greeting| greeting.json(&mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let members: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(members, ["url", "docs", "issuer", "tokenUrl", "clientId", "clientSecret", "token", "systems"]);
        assert_eq!(line["clientSecret"], "s3cret");
        assert_eq!(line["systems"], json!(["local", "slurm"]));
    }

    #[test]
    fn the_text_has_no_control_characters_without_colours() {
        let text = text(false);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(self::text(true).contains("\u{1b}[1m"));
    }

    #[test]
    fn a_shell_reads_the_job_of_the_curl_line_back() {
        let text = text(false);
        let line = text.lines().find(|line| line.contains(" -d '{")).unwrap();
        // The program is replaced by one that prints its arguments.
        let script = line.replacen("curl", "printf '%s\\0'", 1);
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let arguments: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        let data = arguments.iter().position(|argument| *argument == b"-d").unwrap();
        let body: serde_json::Value = serde_json::from_slice(arguments[data + 1]).unwrap();
        assert_eq!(body["job"]["workingDirectory"], "/tmp/it's");
        assert_eq!(arguments[data + 2], b"http://127.0.0.1:8025/compute/local/jobs");
    }

    #[test]
    fn the_last_curl_line_shows_what_the_job_has_written() {
        let text = text(false);
        let job = text.lines().find(|line| line.contains(" -d '{")).unwrap();
        assert!(job.contains(r#""standardOutput":"goldcrest-hello.out""#), "{job}");
        let line = text.lines().find(|line| line.contains("/ops/view")).unwrap();
        let script = line.replacen("curl", "printf '%s\\0'", 1);
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.contains("\0path=/tmp/it's/goldcrest-hello.out\0"), "{output:?}");
    }

    #[test]
    fn the_line_for_a_new_token_takes_it_out_of_the_answer() {
        let text = text(false);
        let line = text.lines().find(|line| line.contains("client_credentials")).unwrap().trim();
        let answer = json!({"access_token": "d.e-_f", "token_type": "Bearer", "expires_in": 900});
        // The program is replaced by one that prints such an answer.
        let script = format!("curl() {{ echo '{answer}'; }}; {line}; printf %s \"$TOKEN\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "d.e-_f", "{script}");
    }

    #[test]
    fn a_shell_knows_the_variables_of_the_user_guide_afterwards() {
        let text = text(false);
        let line = text.lines().find(|line| line.contains("export URL=")).unwrap();
        let script = format!("{line}; echo $URL $TOKEN_URL $CLIENT_ID $CLIENT_SECRET");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), "http://127.0.0.1:8025 http://127.0.0.1:2/token demo-user s3cret");
    }

    fn text(colours: bool) -> String {
        let mut out = Vec::new();
        with_greeting(|greeting| greeting.text(&mut out, colours).unwrap());
        String::from_utf8(out).unwrap()
    }

    fn with_greeting(use_it: impl FnOnce(&Greeting<'_>)) {
        use_it(&Greeting {
            url: "http://127.0.0.1:8025".to_owned(),
            issuer: "http://127.0.0.1:2",
            token_url: "http://127.0.0.1:2/token",
            ssh: "127.0.0.1:3".parse().unwrap(),
            user: &Username::new("fulmar").unwrap(),
            client_id: "demo-user",
            client_secret: &Secret::from("s3cret".to_owned()),
            token: &Secret::from("a.b.c".to_owned()),
            holds: Duration::from_secs(3600),
            systems: &["local", "slurm"],
            file_systems: vec!["/home/fulmar".to_owned(), "/tmp".to_owned()],
            work_dir: "/tmp/it's".to_owned(),
        });
    }
}
