//! Kafka and Redis as containers, through testcontainers: the images that `compose/kafka.yml` names, confined as there,
//! their ports published on loopback, gone when this process is.

use crate::backend::{Server, root, seconds_max};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::SyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

/// Where the broker's image reads its properties and keeps its records.
pub(crate) const KAFKA_CONFIG: &str = "/mnt/shared/config";
pub(crate) const KAFKA_DATA: &str = "/var/lib/kafka/data";
/// Formats the storage once, with the users that are its arguments; the image's own program knows of none. Then it runs
/// that program, which leaves a formatted storage as it is.
const KAFKA: &str = r#"
[ -f "$1/meta.properties" ] ||
    java -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format \
        -t "$CLUSTER_ID" -c "$2/server.properties" "${@:3}"
exec /etc/kafka/docker/run"#;
/// Removes a container when a process is gone, or after some seconds.
const KEEPER: &str = r#"
while kill -0 "$1" && [ "$SECONDS" -lt "$2" ]; do sleep 0.5; done
exec docker rm --force --volumes "$3""#;

/// A container, running or not. testcontainers removes it when it is dropped; its keeper does when this process has ended
/// without that, as statics are not dropped.
#[derive(Debug)]
pub(crate) struct Container {
    container: testcontainers::Container<GenericImage>,
    _keeper: Keeper,
}

impl Container {
    /// A broker with its properties and its certificate with key, and the arguments of its storage's tool that make users.
    ///
    /// # Panics
    /// There is no engine, or it does not start the image.
    pub(crate) fn kafka(
        properties: String,
        certificate: Vec<u8>,
        ports: &[u16],
        users: impl Iterator<Item = String>,
    ) -> Self {
        let command = ["bash", "-c", KAFKA, "kafka", KAFKA_DATA, KAFKA_CONFIG].map(str::to_owned);
        let request = published("apache/kafka", ports)
            .with_cmd(command.into_iter().chain(users))
            .with_env_var("CLUSTER_ID", "MkU3OEVBNTcwNTJENDM2Qk")
            .with_env_var("KAFKA_HEAP_OPTS", "-Xms256m -Xmx768m")
            .with_copy_to(format!("{KAFKA_CONFIG}/server.properties"), properties.into_bytes())
            .with_copy_to(format!("{KAFKA_CONFIG}/broker.pem"), certificate);
        Self::start(request)
    }

    /// A Redis on a port, with further options.
    ///
    /// # Panics
    /// There is no engine, or it does not start the image.
    pub(crate) fn redis(port: u16, options: &[String]) -> Self {
        let port_option = ["--protected-mode", "no", "--port", &port.to_string()].map(str::to_owned);
        let command = ["redis-server", "--save", "", "--appendonly", "no"].map(str::to_owned);
        let command = command.into_iter().chain(port_option).chain(options.iter().cloned());
        Self::start(published("redis", &[port]).with_user("redis").with_cmd(command))
    }

    fn start(request: ContainerRequest<GenericImage>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ledgerflow-test-{}-{number}", std::process::id());
        let keeper = Keeper::of(&name);
        let container = request.with_container_name(&name).start();
        Self { container: container.unwrap_or_else(|why| panic!("{name}: {why}")), _keeper: keeper }
    }
}

impl Server for Container {
    fn run(&mut self) {
        if self.has_ended() {
            self.container.start().unwrap();
        }
    }

    fn has_ended(&mut self) -> bool {
        !self.container.is_running().unwrap()
    }

    fn signal(&self, name: &str) {
        // The container's first process gets it, which is the server.
        docker(&["kill", "--signal", name, self.container.id()]);
    }

    fn kill(&mut self) {
        self.signal("KILL");
        assert!(self.has_ended(), "{} lives on", self.container.id());
    }

    fn output(&self) -> String {
        let all = [self.container.stdout_to_vec(), self.container.stderr_to_vec()];
        all.map(|text| String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()).concat()
    }
}

/// A command of the engine, which may have nothing to do.
fn docker(arguments: &[&str]) {
    let mut command = Command::new("docker");
    let _done_already = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// An image in the version that `compose/kafka.yml` names, confined as there.
fn published(image: &str, ports: &[u16]) -> ContainerRequest<GenericImage> {
    let stack = std::fs::read_to_string(root().join("compose/kafka.yml")).unwrap();
    let tag = stack.lines().find_map(|line| {
        line.trim().strip_prefix("image: ")?.strip_prefix(image)?.strip_prefix(':').map(str::to_owned)
    });
    let tag = tag.unwrap_or_else(|| panic!("compose/kafka.yml names no {image}:VERSION"));
    let request = GenericImage::new(image.to_owned(), tag)
        .with_cap_drop("ALL")
        .with_security_opt("no-new-privileges:true")
        .with_host_config_modifier(|host| {
            // They would be published on every address.
            let ports = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
            for port in ports.flatten().flatten() {
                port.host_ip = Some("127.0.0.1".to_owned());
            }
        });
    // What a broker tells its clients is its port on this machine, so it is the same in the container.
    ports.iter().fold(request, |request, port| request.with_mapped_port(*port, port.tcp()))
}

/// Removes a container that is left over, with its volumes.
#[derive(Debug)]
struct Keeper {
    name: String,
    child: Child,
}

impl Keeper {
    fn of(name: &str) -> Self {
        let (process, seconds) = (std::process::id().to_string(), seconds_max().to_string());
        // Ctrl-C ends this process, not its keeper.
        let mut keeper = Command::new("bash");
        keeper.args(["-c", KEEPER, "keeper", &process, &seconds, name]).process_group(0);
        keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { name: name.to_owned(), child: keeper.spawn().unwrap() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // One that could not be started is nobody's, and is there.
        docker(&["rm", "--force", "--volumes", &self.name]);
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}
