//! `thrust bench transact` against `thrust serve`: every transaction that is counted was committed.

mod process;

use std::process::Command;

use process::Thrust;
use serde_json::Value;

#[test]
fn what_is_counted_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed = ["bench", "transact", &address, "--secs", "1.5", "--warmup", "0", "--size", "100", "--json"];
    for more in [&["--conns", "2", "--inflight", "8"][..], &["--binary", "--queues", "1"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_thrust")).args(fixed).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["work"], "transact");
        let round = &report["servers"][0]["rounds"][0];
        assert!(round["messages"].as_f64().unwrap() > 0.0, "{report}");
        assert_eq!((&round["errors"], &round["unanswered"]), (&Value::Array(Vec::new()), &Value::from(0)));
    }
}
