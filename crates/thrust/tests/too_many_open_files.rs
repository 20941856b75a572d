//! The system grants no more open files: who is connected goes on, others wait, and nothing is lost.

mod process;

use process::{Socket, Thrust, eventually};

#[test]
fn those_who_are_connected_are_served_and_the_others_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let args = ["serve", "--data", data, "--nameserver-port", "0", "--broker-port", "0"];
    let mut thrust = Thrust::start_with_open_files(96, &args);
    let mut first = Socket::connect(thrust.broker());
    assert_eq!(first.send("orders", "0", "before", "").code, 0);
    assert_eq!(first.read_all("orders", 0).len(), 1);
    // Each port leaves a quarter of the files to other uses; both together do not.
    let crowd: Vec<Socket> = (0..120).map(|_| Socket::connect(thrust.broker())).collect();
    thrust.err.hears(&["connection refused", "the limit is 72"]);
    let lookers: Vec<Socket> = (0..60).map(|_| Socket::connect(thrust.nameserver())).collect();
    thrust.err.hears(&["cannot accept a connection", "open-file limit"]);
    assert_eq!(first.send("orders", "0", "meanwhile", "").code, 0);
    assert_eq!(first.read_all("orders", 0).len(), 2);
    // A new topic needs files; it is refused or made, and either is the truth afterwards.
    let answer = first.send("invoices", "0", "x", "");
    assert!(matches!(answer.code, 0 | 1), "{answer:?}");
    let stored = usize::from(answer.code == 0);
    drop((crowd, lookers));
    let mut second = Socket::connect(thrust.broker());
    assert_eq!(second.send("orders", "0", "after", "").code, 0);
    assert_eq!(second.send("invoices", "0", "y", "").code, 0);
    eventually("all is there", || second.read_all("invoices", 0).len() == stored + 1);
    thrust.stop();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.read_all("orders", 0).len(), 3);
    assert_eq!(socket.read_all("invoices", 0).len(), stored + 1);
    thrust.stop();
}
