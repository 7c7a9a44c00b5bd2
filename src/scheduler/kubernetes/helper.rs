//! The helper pod for the files of a user: its Job, its volume, and the text of its commands.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, ResourceRequirements,
    Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::config::FilesConfig;
use super::manifest::{container_security, files_volume, pod_security};
use super::names::{CONTAINER, MANAGED_BY, USER};
use crate::domain::Username;
use crate::ssh::CommandLine;

/// The name of the Job.
pub(super) const HELPER: &str = "goldcrest-files";

/// Where the helper keeps whether it is used.
const DIRECTORY: &str = "/goldcrest";

/// The seconds between two looks whether it is used, and those for which it is kept when it has ended.
const LOOKS: u32 = 10;
const KEPT: i32 = 5;

/// What a shell in the helper prints when it has begun, and waits for its program.
pub(super) const BEGUN: &[u8] = b"begun\n";

/// Runs a program of so many bytes, which stands in front of the command's own input. Nothing of a user's is in these words, which the API
/// server logs. A helper that is about to end either goes on because of this, or ends before the program is sent. A program that does not arrive is a
/// failure: without it, the shell would have nothing to do, and would have done it.
const RUN: &str = concat!(
    r": >/goldcrest/used; while [ -e /goldcrest/ending ]; do sleep 0.1; done; echo begun; ",
    r#"goldcrest_program=$(dd bs="$1" count=1 iflag=fullblock 2>/dev/null); eval "${goldcrest_program:?did not arrive}""#
);

/// What the helper pods of a site are.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    config: FilesConfig,
    run_as_user: u32,
}

impl Helper {
    pub(super) fn new(config: FilesConfig, run_as_user: u32) -> Self {
        Self { config, run_as_user }
    }

    /// The name of the volume claim, and the claim where Goldcrest makes it.
    pub(super) fn claim(&self) -> (&str, Option<PersistentVolumeClaim>) {
        (&self.config.claim, self.config.size.as_ref().map(|size| self.claim_of(size)))
    }

    fn claim_of(&self, size: &str) -> PersistentVolumeClaim {
        let FilesConfig { claim, storage_class, access_mode, .. } = &self.config;
        let requests = [("storage".to_owned(), Quantity(size.to_owned()))].into();
        let spec = PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode.as_str().to_owned()]),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            storage_class_name: storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        };
        let metadata = ObjectMeta { name: Some(claim.clone()), labels: Some(labels()), ..ObjectMeta::default() };
        PersistentVolumeClaim { metadata, spec: Some(spec), status: None }
    }

    /// The Job.
    pub(super) fn job(&self, user: &Username) -> Job {
        let metadata = |name: Option<&str>| ObjectMeta {
            name: name.map(str::to_owned),
            labels: Some(labels()),
            annotations: Some([(USER.to_owned(), user.to_string())].into()),
            ..ObjectMeta::default()
        };
        let spec = JobSpec {
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(KEPT),
            template: PodTemplateSpec { metadata: Some(metadata(None)), spec: Some(self.pod()) },
            ..JobSpec::default()
        };
        Job { metadata: metadata(Some(HELPER)), spec: Some(spec), status: None }
    }

    fn pod(&self) -> PodSpec {
        let (volume, mount) = files_volume(&self.config);
        let own = Volume { name: "own".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        let own_mount = VolumeMount { name: "own".to_owned(), mount_path: DIRECTORY.to_owned(), ..VolumeMount::default() };
        let amounts = |cpu: &str, memory: &str| {
            [("cpu", cpu), ("memory", memory)].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
        };
        PodSpec {
            containers: vec![Container {
                name: CONTAINER.to_owned(),
                image: Some(self.config.image.clone()),
                command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), waiting(self.config.idle_timeout)]),
                resources: Some(ResourceRequirements {
                    requests: Some(amounts("50m", "64Mi")),
                    limits: Some(amounts("1", "512Mi")),
                    claims: None,
                }),
                security_context: Some(container_security()),
                volume_mounts: Some(vec![mount, own_mount]),
                ..Container::default()
            }],
            volumes: Some(vec![volume, own]),
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // Its first process takes no notice of a request to end.
            termination_grace_period_seconds: Some(1),
            security_context: Some(pod_security(self.run_as_user)),
            ..PodSpec::default()
        }
    }
}

/// The program of the helper's first process: waits until nothing was run for so many seconds. Commands are processes beside it. A process whose
/// `/proc/PID/stat` does not change counts as idle: where a client leaves in the middle of a file, its command waits for ever for a reader, and ends with the pod.
fn waiting(idle_timeout: u32) -> String {
    let looks = (idle_timeout / LOOKS).max(1);
    format!(
        "cd {DIRECTORY} && rm -f ending && : >used || exit; left={looks} before=\n\
         is_used() {{ seen=\n\
         for p in /proc/[0-9]*; do [ \"$p\" = /proc/1 ] || {{ read -r line <\"$p/stat\" && seen=\"$seen$line;\"; }}; done 2>/dev/null\n\
         [ -e used ] || {{ [ \"$seen\" != \"$before\" ] && before=$seen; }}; }}\n\
         while :; do\n\
         sleep {LOOKS}; left=$((left - 1))\n\
         if ! is_used; then [ $left -gt 0 ] && continue; : >ending; sleep 1; is_used || exit 0; fi\n\
         rm -f used ending; left={looks}\n\
         done"
    )
}

/// The label keeps the helper's Job out of job lists.
fn labels() -> BTreeMap<String, String> {
    [(MANAGED_BY.to_owned(), HELPER.to_owned())].into()
}

/// A command for the helper.
pub(super) struct Program {
    /// What the shell reads. One compound command, so that a part of it does nothing.
    pub(super) text: Bytes,
    length: String,
}

impl Program {
    pub(super) fn of(line: &CommandLine) -> Self {
        let text = [b"{\n", line.as_bytes(), b"\n}"].concat();
        Self { length: text.len().to_string(), text: text.into() }
    }

    /// The words of the command that runs it.
    pub(super) fn words(&self) -> [&str; 5] {
        ["/bin/sh", "-c", RUN, "sh", &self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};
    use std::time::Duration;

    use super::*;

    fn helper(section: serde_json::Value) -> Helper {
        Helper::new(serde_json::from_value(section).unwrap(), 1000)
    }

    /// Runs a program with what follows on standard input, as the helper would in this directory.
    fn run(shell: &str, directory: &Path, program: &Program, input: &[u8]) -> Output {
        let words = program.words().map(|word| word.replace(DIRECTORY, directory.to_str().unwrap()));
        let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
        let mut child = Command::new(shell).args(&words[1..]).stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    #[test]
    fn the_helper_is_no_job_of_the_users_and_as_closed_in_as_one() {
        let helper = helper(serde_json::json!({"image": "registry.test/files:1"}));
        let job = helper.job(&Username::new("ada").unwrap());
        assert_ne!(job.metadata.labels.as_ref().unwrap()[MANAGED_BY], super::super::names::GOLDCREST);
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.security_context.unwrap().run_as_user, Some(1000));
        let container = &pod.containers[0];
        assert_eq!(container.volume_mounts.as_ref().unwrap()[0].mount_path, "/home");
        let security = container.security_context.as_ref().unwrap();
        assert_eq!((security.allow_privilege_escalation, security.privileged), (Some(false), Some(false)));
        assert_eq!(security.capabilities.as_ref().unwrap().drop, Some(vec!["ALL".to_owned()]));
    }

    #[test]
    fn the_site_makes_the_volume_unless_it_says_how_large_it_is() {
        assert!(helper(serde_json::json!({"claim": "home"})).claim().1.is_none());
        let helper = helper(serde_json::json!({"size": "2Gi", "storage_class": "local", "access_mode": "ReadWriteOnce"}));
        let spec = helper.claim().1.unwrap().spec.unwrap();
        assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
        assert_eq!(
            (spec.resources.unwrap().requests.unwrap()["storage"].0.as_str(), spec.storage_class_name.as_deref()),
            ("2Gi", Some("local"))
        );
    }

    #[test]
    fn a_program_of_any_bytes_is_run_and_its_input_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let words: [&[u8]; 6] =
            [b"plain 'name'", b"\xff\xfe\n'", b"\x80\x81\x88 \x01", b"$(touch pwned) `id` $HOME \\", b"-n", "ü €".as_bytes()];
        let line = words.iter().fold(CommandLine::new("printf").arg("%s\\0"), CommandLine::arg);
        let program = Program::of(&line.then(crate::ssh::Raw(";"), &CommandLine::new("cat; exit 7")));
        let expected = words.iter().flat_map(|word| word.iter().copied().chain([0]));
        let expected: Vec<u8> = BEGUN.iter().copied().chain(expected).chain(*b"\0input\n}\n").collect();
        for shell in ["dash", "bash"] {
            let output = run(shell, directory.path(), &program, &[&program.text[..], b"\0input\n}\n"].concat());
            assert_eq!((output.stdout.as_slice(), output.status.code()), (expected.as_slice(), Some(7)), "{shell}: {output:?}");
        }
        assert!(directory.path().join("used").exists());
    }

    #[test]
    fn a_part_of_a_program_does_nothing_and_fails() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let program = Program::of(&CommandLine::new("touch").arg(mark.to_str().unwrap()));
        for length in 0..program.text.len() {
            let output = run("/bin/sh", directory.path(), &program, &program.text[..length]);
            assert!(!mark.exists() && !output.status.success(), "{length}");
        }
        run("/bin/sh", directory.path(), &program, &program.text);
        assert!(mark.exists());
    }

    #[test]
    fn no_word_of_a_users_is_among_those_that_the_api_server_logs() {
        let program = Program::of(&CommandLine::new("cat").arg("/home/secret"));
        assert!(!program.words().concat().contains("secret"));
    }

    #[tokio::test]
    async fn the_helper_ends_when_it_is_not_used_and_no_program_begins_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        // Its looks at processes are those of a pod, where there are no others.
        let text = waiting(20).replace(DIRECTORY, directory.path().to_str().unwrap());
        let text = text.replace("/proc/[0-9]*", "1").replace("sleep 10", "sleep 0.2");
        let mut first = Command::new("/bin/sh").args(["-c", &text]).spawn().unwrap();
        let (used, ending) = (directory.path().join("used"), directory.path().join("ending"));
        let wait_for = async |what: &dyn Fn() -> bool| {
            let begun = std::time::Instant::now();
            while !what() {
                assert!(begun.elapsed() < Duration::from_secs(20));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        wait_for(&|| ending.exists()).await;
        // A program that comes now is waited for, or the helper ends first: it does not begin in a helper that ends.
        let program = Program::of(&CommandLine::new("true"));
        let output = run("/bin/sh", directory.path(), &program, &program.text);
        assert!(output.status.success() && !ending.exists() && !used.exists());
        assert!(first.try_wait().unwrap().is_none(), "it was used");
        assert!(first.wait().unwrap().success());
        assert!(ending.exists() && !used.exists());
    }
}
