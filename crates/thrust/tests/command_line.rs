//! The commands that speak to running servers, against `thrust serve`: what people read, what machines read, and the
//! exit codes.

mod process;

mod command_line {
    mod brokers_and_clusters;
    mod closed_pipes_and_interrupts;
    mod contexts;
    mod doctor_and_explanations;
    mod encrypted_contexts;
    mod examples_run;
    mod groups;
    mod habits_of_the_official_tool;
    mod messages_are_found;
    mod messages_in_and_out;
    mod messages_that_are_refused;
    mod on_a_terminal;
    mod outputs_are_as_they_were;
    mod page_of_commands_is_up_to_date;
    mod servers_and_arguments;
    mod snapshot;
    mod topics;
    mod work_done_in_part;

    use std::path::Path;

    use assert_cmd::assert::Assert;
    use serde_json::Value;
    use wire::code::request::REGISTER_BROKER;

    use crate::process::{Socket, Thrust, printed, thrust};

    /// A server, and the commands that speak to it.
    pub struct Server {
        _thrust: Thrust,
        pub names: String,
        pub broker: String,
        pub dir: tempfile::TempDir,
    }

    impl Server {
        pub fn start() -> Server {
            Server::start_with(&[])
        }

        /// With settings of the broker, `KEY=VALUE`.
        pub fn start_with(settings: &[&str]) -> Server {
            let set: Vec<&str> = settings.iter().flat_map(|one| ["--set", *one]).collect();
            Server::start_as(&set)
        }

        /// With arguments of `thrust serve`.
        pub fn start_as(args: &[&str]) -> Server {
            let dir = tempfile::tempdir().unwrap();
            let usual = ["--set", "mappedFileSizeCommitLog=1048576", "--set", "enablePropertyFilter=true"];
            let thrust = Thrust::serve(&dir.path().join("data"), &[&usual[..], args].concat());
            let (names, broker) = (thrust.nameserver().to_string(), thrust.broker().to_string());
            Server { names, broker, _thrust: thrust, dir }
        }

        /// One more broker that registers with it, on any free port, with arguments of `thrust broker`.
        pub fn another_broker(&self, name: &str, args: &[&str]) -> Thrust {
            let (data, name) = (self.dir.path().join(name), format!("brokerName={name}"));
            let settings =
                ["listenPort=0", "bindAddress=127.0.0.1", "mappedFileSizeCommitLog=1048576", &name];
            let set: Vec<&str> = settings.into_iter().flat_map(|one| ["--set", one]).collect();
            let line = ["broker", "-n", &self.names, "--data", data.to_str().unwrap()];
            Thrust::start(&[&line[..], &set, args].concat())
        }

        /// A command on this server, run to its end.
        pub fn run(&self, args: &[&str]) -> Assert {
            run(&[args, &["-n", &self.names]].concat())
        }

        /// A command that finds the server through contexts, which are kept in the server's directory.
        pub fn runs_by_context(&self, args: &[&str]) -> Assert {
            thrust(args).env("XDG_CONFIG_HOME", self.dir.path()).assert()
        }

        /// A command that must succeed; gives what it prints.
        pub fn prints(&self, args: &[&str]) -> String {
            printed(&self.run(args).success())
        }

        /// The same with `--json`.
        pub fn json(&self, args: &[&str]) -> Value {
            let text = self.prints(&[args, &["--json"]].concat());
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
        }

        /// Registers a replica at an address where nobody listens, for as long as the connection is there.
        pub fn replica_that_is_down(&self, broker: &str) -> Socket {
            self.register(broker, "DefaultCluster", "1", "127.0.0.1:1")
        }

        /// Registers a master at an address where nobody listens, likewise.
        pub fn master_that_is_down(&self, broker: &str) -> Socket {
            self.register(broker, "DefaultCluster", "0", "127.0.0.1:1")
        }

        /// Registers a broker for as long as the connection is there.
        pub fn register(&self, broker: &str, cluster: &str, id: &str, address: &str) -> Socket {
            let mut socket = Socket::connect(self.names.parse().unwrap());
            let fields = [
                ("brokerName", broker),
                ("brokerAddr", address),
                ("clusterName", cluster),
                ("haServerAddr", "127.0.0.1:2"),
                ("brokerId", id),
                ("compressed", "false"),
                ("bodyCrc32", "0"),
            ];
            assert_eq!(socket.call(REGISTER_BROKER, &fields, b"{}").code, 0);
            socket
        }

        /// A file in a directory of this server's own.
        pub fn file(&self, name: &str, content: &str) -> String {
            let path = self.dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            text(&path)
        }
    }

    /// A command that needs no server, or names one, run to its end.
    pub fn run(args: &[&str]) -> Assert {
        thrust(args).assert()
    }

    fn text(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    /// The cells of a line of a table.
    pub fn cells(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }
}
