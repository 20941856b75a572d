//! The system grants few open files: clients get three quarters of them on all ports together, who is connected goes
//! on, and nothing is lost.

mod process;

use process::socket::frame;
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
    let crowd: Vec<Socket> = (0..120).map(|_| Socket::connect(thrust.broker())).collect();
    thrust.err.hears(&["connection refused", "have 72 together"]);
    let mut looker = Socket::connect(thrust.nameserver());
    assert!(looker.next().is_none(), "the other port has no place for it either");
    assert_eq!(first.send("orders", "0", "meanwhile", "").code, 0);
    assert_eq!(first.read_all("orders", 0).len(), 2);
    // A new topic needs files, and has them.
    assert_eq!(first.send("invoices", "0", "x", "").code, 0);
    drop((crowd, looker));
    let is_served = |mut socket: Socket| socket.write(&frame(9_999, 1, &[], b"")) && socket.next().is_some();
    eventually("there is room again", || is_served(Socket::connect(thrust.broker())));
    let mut second = Socket::connect(thrust.broker());
    assert_eq!(second.send("orders", "0", "after", "").code, 0);
    assert_eq!(second.send("invoices", "0", "y", "").code, 0);
    eventually("all is there", || second.read_all("invoices", 0).len() == 2);
    thrust.stop();
    let said = thrust.err.text();
    assert_eq!(said.matches("no more than 72 connections").count(), 1, "for both servers once:\n{said}");
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.read_all("orders", 0).len(), 3);
    assert_eq!(socket.read_all("invoices", 0).len(), 2);
    thrust.stop();
}
