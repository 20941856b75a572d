//! A client changes settings of a broker that was started with a file: the next start finds them there.

mod process;

use process::{Socket, Thrust};

const UPDATE_BROKER_CONFIG: i32 = 25;
const GET_BROKER_CONFIG: i32 = 26;

fn shown(socket: &mut Socket, line: &str) -> bool {
    let answer = socket.call(GET_BROKER_CONFIG, &[], &[]);
    String::from_utf8_lossy(&answer.body).lines().any(|shown| shown == line)
}

#[test]
fn the_file_says_what_the_client_said() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("broker.conf");
    std::fs::write(&conf, "# kept for two days\nfileReservedTime=48\n").unwrap();
    let args = ["-c", conf.to_str().unwrap(), "--listen", "127.0.0.1"];
    let thrust = Thrust::serve(dir.path(), &args);
    let mut socket = Socket::connect(thrust.broker());
    let answer = socket.call(UPDATE_BROKER_CONFIG, &[], b"fileReservedTime=24\ndeleteWhen=03;15");
    assert_eq!(answer.code, 0);
    assert!(shown(&mut socket, "fileReservedTime=24"));
    thrust.kill();
    assert_eq!(
        std::fs::read_to_string(&conf).unwrap(),
        "# kept for two days\nfileReservedTime=24\ndeleteWhen=03;15\n"
    );
    let mut thrust = Thrust::serve(dir.path(), &args);
    let mut socket = Socket::connect(thrust.broker());
    assert!(shown(&mut socket, "fileReservedTime=24") && shown(&mut socket, "deleteWhen=03;15"));
    thrust.stop();
}

#[test]
fn without_a_file_the_answer_says_how_long_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.call(UPDATE_BROKER_CONFIG, &[], b"fileReservedTime=24").code, 0);
    assert!(shown(&mut socket, "fileReservedTime=24"));
    thrust.stop();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    assert!(shown(&mut Socket::connect(thrust.broker()), "fileReservedTime=72"));
    thrust.stop();
}
