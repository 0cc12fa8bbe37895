//! A real node: containerd, the kubelet and kube-proxy, in a separate network.
//!
//! ```text
//!   test ── isolated ──► unshare (network, mounts, processes) ──► the same test again ──► ControlPlane with a real node
//! ```
//!
//! A kubelet starts containers, adds network interfaces and mounts file systems. All of that happens in namespaces that end
//! with the test, so no packet leaves the machine and nothing remains on it. This needs root and a few programs of the
//! distribution; where they are missing, the test is skipped with a message, or fails if [`REQUIRED_VARIABLE`] is set.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::{
    Component, DEADLINE, eventually, nodes, registry,
    tools::{Tools, log},
};

/// If set, tests of a real node fail where they cannot run.
pub const REQUIRED_VARIABLE: &str = "TEST_CLUSTER_REAL_NODE";
/// Set in the namespaces.
const ISOLATED_VARIABLE: &str = "TEST_CLUSTER_ISOLATED";
/// The address of the node, on a bridge without a connection to the outside.
pub(crate) const ADDRESS: &str = "172.30.0.1";
/// The first address of the Service network, which is that of the Service `kubernetes`.
pub(crate) const SERVICE_ADDRESS: &str = "10.96.0.1";
/// As in `node/kube-proxy.yaml`.
const NAME: &str = "node-1";
/// As in `node/containerd.toml`.
const PAUSE_IMAGE: &str = "localhost/pause:1";
/// The folder of the CNI plugins of Debian, as in `node/containerd.toml`.
const CNI_PLUGINS: &str = "/usr/lib/cni";
/// The programs of the distribution, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("buildah", "buildah"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("busybox", "busybox-static"),
    ("cc", "gcc"),
];
/// Prepares the namespaces and runs the test. The default route leads nowhere: the kubelet and kube-proxy need one. All files are in
/// memory and disappear with the namespace, also those in fixed places.
const PREPARE: &str = r#"
set -e
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /run/lock /run/tmp /var/log/containers
ip link set lo up
ip link add node0 type bridge
ip address add "$1/24" dev node0
ip link set node0 up
ip route add default dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
shift
exec "$@"
"#;

/// Runs a test of a real node in separate namespaces, after `prepare`, which has the network. `name` is the full name of the test
/// function that calls this.
///
/// # Errors
///
/// If the test fails, or cannot run although [`REQUIRED_VARIABLE`] is set.
pub fn isolated(
    name: &str,
    prepare: impl FnOnce() -> Result<()>,
    test: impl Future<Output = Result<()>>,
) -> Result<()> {
    if env::var_os(ISOLATED_VARIABLE).is_some() {
        return tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(test);
    }
    let missing = missing();
    if !missing.is_empty() {
        let text = format!("a real node cannot run here: {}", missing.join("; "));
        ensure!(env::var_os(REQUIRED_VARIABLE).is_none(), "{text}");
        log(&format!("skipped {name}: {text}"));
        return Ok(());
    }
    // Building them may need the network, which the namespaces do not have.
    let components: Vec<_> = Component::ALL.into_iter().chain(Component::NODE).collect();
    Tools::find(&components).context("failed to find the programs of the node")?;
    registry::programs().context("failed to find the programs of registries")?;
    prepare().context("failed to prepare the test")?;
    let status = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            PREPARE,
            "sh",
            ADDRESS,
        ])
        .arg(env::current_exe()?)
        .args([name, "--exact", "--nocapture"])
        .env(ISOLATED_VARIABLE, "1")
        .env("TMPDIR", "/run/tmp")
        .status()
        .context("failed to start unshare")?;
    remove_control_groups();
    ensure!(status.success(), "the test failed in its namespaces ({status}); see its output above");
    Ok(())
}

/// Returns what is missing to run a real node.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("it needs root".to_string());
    }
    let namespaces = Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).output();
    if !namespaces.is_ok_and(|output| output.status.success()) {
        missing.push("it needs the permission to create network, mount and process namespaces".to_string());
    }
    let packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find_program(program).is_none()).map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        missing.push(format!("install {}", packages.join(" ")));
    }
    if !Path::new(CNI_PLUGINS).join("bridge").is_file() {
        missing.push("install containernetworking-plugins".to_string());
    }
    missing
}

/// Returns the path of a program of the distribution.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect::<Vec<_>>();
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Removes the control groups of the kubelet, whose processes have ended with their namespace.
fn remove_control_groups() {
    fn remove(folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(folder);
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove(&hierarchy.path().join("kubepods"));
    }
    remove(Path::new("/sys/fs/cgroup/kubepods"));
}

/// Writes the configuration files of `node/` into the folder of the control plane.
pub(crate) fn write_configuration(folder: &Path) -> Result<()> {
    ensure!(
        env::var_os(ISOLATED_VARIABLE).is_some(),
        "a real node would change this machine; use test_cluster::real_node::isolated"
    );
    fs::create_dir_all(folder.join("cni"))?;
    for (name, text) in [
        ("containerd.toml", include_str!("../node/containerd.toml")),
        ("cni/10-pods.conflist", include_str!("../node/10-pods.conflist")),
        ("kubelet.yaml", include_str!("../node/kubelet.yaml")),
        ("kube-proxy.yaml", include_str!("../node/kube-proxy.yaml")),
    ] {
        let text = text.replace("ROOT", &folder.display().to_string());
        fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

/// The arguments of the kubelet.
pub(crate) fn kubelet_arguments() -> Vec<String> {
    vec![
        "--config=kubelet.yaml".to_string(),
        "--kubeconfig=kubeconfigs/kubelet.yaml".to_string(),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={ADDRESS}"),
    ]
}

/// Waits until containerd listens, and loads the image that every pod needs.
pub(crate) async fn prepare_runtime(folder: &Path) -> Result<()> {
    let socket = folder.join("containerd.socket");
    eventually(DEADLINE, "containerd to listen", async || {
        ensure!(socket.exists(), "there is no socket");
        Ok(())
    })
    .await?;
    let source = folder.join("pause");
    fs::create_dir_all(&source)?;
    fs::write(source.join("pause.c"), "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")?;
    command(Command::new("cc").current_dir(&source).args(["-static", "-O2", "-o", "pause", "pause.c"]))?;
    build_image(folder, &source, "FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n", PAUSE_IMAGE)
}

/// Builds an image with the files of `context`, and loads it into the container runtime. Blocks for seconds.
pub(crate) fn build_image(folder: &Path, context: &Path, containerfile: &str, image: &str) -> Result<()> {
    let file = folder.join("Containerfile");
    fs::write(&file, containerfile)?;
    let storage = folder.join("images");
    let buildah = || {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(storage.join("root")).arg("--runroot");
        command.arg(storage.join("run"));
        command
    };
    command(
        buildah().args(["bud", "--quiet", "--isolation", "chroot", "--tag", image, "--file"]).arg(&file).arg(context),
    )?;
    let archive = folder.join("image.tar");
    let _ = fs::remove_file(&archive);
    command(buildah().args(["push", "--quiet", image]).arg(format!("oci-archive:{}:{image}", archive.display())))?;
    let socket = folder.join("containerd.socket");
    command(
        Command::new("ctr")
            .arg("--address")
            .arg(socket)
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&archive),
    )
}

/// Creates a folder with busybox as `name`, a program with the most common commands.
pub(crate) fn copy_busybox(folder: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let target = folder.join(name);
    fs::copy(find_program("busybox").context("busybox is not installed")?, &target)?;
    Ok(fs::set_permissions(target, fs::Permissions::from_mode(0o755))?)
}

/// Waits until the node is ready.
pub(crate) async fn wait_for_node(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    eventually(Duration::from_secs(120), "the node to be ready", async || nodes::ensure_ready(&nodes.get(NAME).await?))
        .await
}

fn command(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start {:?}", command.get_program()))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        bail!("{command:?} failed ({}): {text}", output.status);
    }
    Ok(())
}
