//! What a pod has that runs a program of its image: the program itself, and the code that came with it.
//!
//! The code lies in the job's Secret, and is unpacked before the program starts. Both containers are closed in alike.

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, KeyToPath, PodSpec, SecretVolumeSource, Volume, VolumeMount};

use crate::domain::ImageProgram;

/// The key of the code in the Secret.
pub(super) const CODE: &str = "code";

/// The container that unpacks it.
const UNPACK: &str = "unpack-code";
/// The volume with the archive, and that of its contents.
const ARCHIVE: &str = "code-archive";
/// Where the archive lies while it is unpacked.
const ARCHIVE_DIRECTORY: &str = "/goldcrest-code";

/// The words of a program as Kubernetes has them: what is not given is the image's own.
pub(super) fn words(program: &ImageProgram) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let given = |words: &Vec<String>| Some(words.clone()).filter(|words| !words.is_empty());
    (given(&program.command), given(&program.arguments))
}

/// Adds the unpacking of the code in this Secret to the working directory of the pod's container.
pub(super) fn add_code(pod: &mut PodSpec, secret: &str, image: &str) {
    let Some(job) = pod.containers.first_mut() else { return };
    let directory = job.working_dir.clone().unwrap_or_default();
    let mount = |name: &str, mount_path: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: mount_path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    job.volume_mounts.get_or_insert_default().push(mount(CODE, &directory, None));
    // A `$(NAME)` in a command is replaced by Kubernetes; `$$` stands for one `$`.
    let target = directory.replace('$', "$$");
    let command = ["unzip", "-q", "-o", &format!("{ARCHIVE_DIRECTORY}/{CODE}"), "-d", &target];
    let unpack = Container {
        name: UNPACK.to_owned(),
        image: Some(image.to_owned()),
        command: Some(command.map(str::to_owned).into()),
        resources: job.resources.clone(),
        security_context: job.security_context.clone(),
        volume_mounts: Some(vec![mount(ARCHIVE, ARCHIVE_DIRECTORY, Some(true)), mount(CODE, &directory, None)]),
        ..Container::default()
    };
    pod.init_containers = Some(vec![unpack]);
    let item = KeyToPath { key: CODE.to_owned(), path: CODE.to_owned(), mode: Some(0o444) };
    let archive = SecretVolumeSource { secret_name: Some(secret.to_owned()), items: Some(vec![item]), ..SecretVolumeSource::default() };
    pod.volumes.get_or_insert_default().extend([
        Volume { name: ARCHIVE.to_owned(), secret: Some(archive), ..Volume::default() },
        Volume { name: CODE.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ]);
}
