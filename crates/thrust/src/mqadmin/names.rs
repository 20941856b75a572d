//! Name servers: their settings, their table of keys and values, permissions of brokers.

use std::collections::BTreeMap;

use super::call::{Call, Failure};
use super::command::Command;
use super::line::required;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "updateKvConfig",
        about: "Set a value of the table of keys and values.",
        flags: &[
            required("s", "namespace", "the namespace"),
            required("k", "key", "the key"),
            required("v", "value", "the value"),
        ],
        differs: "",
        run: |call| Box::pin(put(call)),
    },
    Command {
        name: "deleteKvConfig",
        about: "Remove a value of the table of keys and values.",
        flags: &[required("s", "namespace", "the namespace"), required("k", "key", "the key")],
        differs: "",
        run: |call| Box::pin(delete(call)),
    },
    Command {
        name: "wipeWritePerm",
        about: "Stop producers from writing to a broker.",
        flags: &[required("b", "brokerName", "name of the broker")],
        differs: "",
        run: |call| Box::pin(write_permission(call, false)),
    },
    Command {
        name: "addWritePerm",
        about: "Let producers write to a broker again.",
        flags: &[required("b", "brokerName", "name of the broker")],
        differs: "",
        run: |call| Box::pin(write_permission(call, true)),
    },
    Command {
        name: "getNamesrvConfig",
        about: "Show settings of name servers.",
        flags: &[],
        differs: "sorted by key",
        run: |call| Box::pin(config(call)),
    },
    Command {
        name: "updateNamesrvConfig",
        about: "Change a setting of name servers.",
        flags: &[required("k", "key", "the setting"), required("v", "value", "its value")],
        differs: "",
        run: |call| Box::pin(update(call)),
    },
];

async fn put(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    call.put_kv(line.text("s"), line.text("k"), line.text("v")).await?;
    call.say("create or update kv config to namespace success.\n")
}

async fn delete(call: &Call) -> Result<(), Failure> {
    let (namespace, key) = (call.line.text("s"), call.line.text("k"));
    call.each_name_server(|server| async move { call.admin.delete_kv_at(&server, namespace, key).await })
        .await?;
    call.say("delete kv config from namespace success.\n")
}

async fn write_permission(call: &Call, add: bool) -> Result<(), Failure> {
    let broker = call.line.text("b");
    let what = format!("{} write perm of broker[{broker}] in name server", if add { "add" } else { "wipe" });
    call.each(&call.admin.name_servers(), |server| {
        let what = &what;
        async move {
            let done = match add {
                true => call.admin.add_write_permission(&server, broker).await,
                false => call.admin.wipe_write_permission(&server, broker).await,
            };
            match done {
                Ok(topics) => call.say(&format!("{what}[{server}] OK, {topics}\n")),
                Err(error) => {
                    call.say(&format!("{what}[{server}] Failed\n"))?;
                    Err(error.into())
                }
            }
        }
    })
    .await
}

/// `key = value` lines of settings below a banner.
pub fn settings(banner: &str, values: &BTreeMap<String, String>) -> String {
    let rows = values.iter().map(|(key, value)| format!("{key:<50}=  {value}\n"));
    format!("{banner}\n{}", rows.collect::<String>())
}

async fn config(call: &Call) -> Result<(), Failure> {
    call.each(&call.admin.name_servers(), |server| async move {
        let values = call.admin.name_server_config(&server).await?;
        call.say(&settings(&format!("============{server}============"), &values))
    })
    .await
}

async fn update(call: &Call) -> Result<(), Failure> {
    let (key, value) = (call.line.text("k"), call.line.text("v"));
    call.each_name_server(|server| async move {
        call.admin.update_name_server_config(&server, &[(key, value)]).await
    })
    .await?;
    // As Java prints a list; without `-n` the official tool names no servers.
    let servers = match call.line.value("n") {
        Some(servers) => format!("[{}]", servers.split(';').collect::<Vec<_>>().join(", ")),
        None => String::new(),
    };
    call.say(&format!("update name server config success!{servers}\n{key} : {value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_below_their_banner() {
        let values = [("listenPort", "9876"), ("a", "b")].map(|(key, value)| (key.into(), value.into()));
        let expected = format!("==x==\n{:<50}=  b\n{:<50}=  9876\n", "a", "listenPort");
        assert_eq!(settings("==x==", &values.into()), expected);
    }
}
