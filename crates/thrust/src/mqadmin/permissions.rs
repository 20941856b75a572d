//! Users of brokers and what they may do. The brokers are Java's: ours have no users yet, and say so.

use thrustmq_client::{AclInfo, PolicyEntryInfo, PolicyInfo, UserInfo};

use super::call::{Call, Failure};
use super::command::Command;
use super::line::{Flag, flag, one_of, parts, required};

const DIFFERS: &str = "for Java's brokers; ours refuse the request and say why";
const DIFFERS_IN_ABSENCE: &str = "one that is not there is exit code 4 and a line on stderr, not silence; for Java's \
                                  brokers; ours refuse the request and say why";
const AT_BROKER: Flag = one_of("b", "brokerAddr", "address of the broker");
const AT_CLUSTER: Flag = one_of("c", "clusterName", "the cluster whose brokers are meant");
const USER: Flag = required("u", "username", "name of the user");
const SUBJECT: Flag = required("s", "subject", "whom it is about, as User:name");

const RULE: [Flag; 7] = [
    AT_BROKER,
    AT_CLUSTER,
    SUBJECT,
    required("r", "resources", "what it is about, as Topic:orders,Group:billing"),
    required("a", "actions", "what is done with it, as Pub,Sub"),
    flag("i", "sourceIp", "addresses that requests come from, with commas between them"),
    required("d", "decision", "Allow or Deny"),
];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "createUser",
        about: "Create a user.",
        flags: &[
            AT_BROKER,
            AT_CLUSTER,
            USER,
            required("p", "password", "its password, which every user of this machine can read here"),
            flag("t", "userType", "Super, who may do everything, or Normal [default: Normal]"),
        ],
        differs: DIFFERS,
        run: |call| Box::pin(put_user(call, "create")),
    },
    Command {
        name: "updateUser",
        about: "Change a user.",
        flags: &[
            AT_BROKER,
            AT_CLUSTER,
            USER,
            Flag { group: Some(1), ..flag("p", "password", "its password") },
            Flag { group: Some(1), ..flag("t", "userType", "Super or Normal") },
            Flag { group: Some(1), ..flag("s", "userStatus", "enable or disable") },
        ],
        differs: DIFFERS,
        run: |call| Box::pin(put_user(call, "update")),
    },
    Command {
        name: "deleteUser",
        about: "Delete a user.",
        flags: &[AT_BROKER, AT_CLUSTER, USER],
        differs: DIFFERS,
        run: |call| Box::pin(delete_user(call)),
    },
    Command {
        name: "getUser",
        about: "Show a user.",
        flags: &[AT_BROKER, AT_CLUSTER, flag("u", "username", "name of the user")],
        differs: DIFFERS_IN_ABSENCE,
        run: |call| Box::pin(show_user(call)),
    },
    Command {
        name: "listUser",
        about: "List users.",
        flags: &[AT_BROKER, AT_CLUSTER, flag("f", "filter", "a part of the name [default: all]")],
        differs: DIFFERS,
        run: |call| Box::pin(list_users(call)),
    },
    Command {
        name: "copyUser",
        about: "Copy users from a broker to another.",
        flags: &[
            required("f", "fromBroker", "address of the broker that has them"),
            required("t", "toBroker", "address of the broker that gets them"),
            flag("u", "usernames", "names with commas between them [default: all]"),
        ],
        differs: DIFFERS,
        run: |call| Box::pin(copy_users(call)),
    },
    Command {
        name: "createAcl",
        about: "Say what a user may do.",
        flags: &RULE,
        differs: DIFFERS,
        run: |call| Box::pin(put_acl(call, "create")),
    },
    Command {
        name: "updateAcl",
        about: "Change what a user may do.",
        flags: &RULE,
        differs: DIFFERS,
        run: |call| Box::pin(put_acl(call, "update")),
    },
    Command {
        name: "deleteAcl",
        about: "Delete what was said of a user.",
        flags: &[
            AT_BROKER,
            AT_CLUSTER,
            SUBJECT,
            flag("r", "resources", "what it is about, as Topic:orders [default: everything]"),
        ],
        differs: DIFFERS,
        run: |call| Box::pin(delete_acl(call)),
    },
    Command {
        name: "getAcl",
        about: "Show what a user may do.",
        flags: &[AT_BROKER, AT_CLUSTER, flag("s", "subject", "whom it is about, as User:name")],
        differs: DIFFERS_IN_ABSENCE,
        run: |call| Box::pin(show_acl(call)),
    },
    Command {
        name: "listAcl",
        about: "List what users may do.",
        flags: &[
            AT_BROKER,
            AT_CLUSTER,
            flag("s", "subject", "a part of whom it is about [default: all]"),
            flag("r", "resource", "a part of what it is about [default: all]"),
        ],
        differs: DIFFERS,
        run: |call| Box::pin(list_acls(call)),
    },
    Command {
        name: "copyAcl",
        about: "Copy what users may do from a broker to another.",
        flags: &[
            required("f", "fromBroker", "address of the broker that has it"),
            required("t", "toBroker", "address of the broker that gets it"),
            flag("s", "subjects", "whom it is about, with commas between them [default: all]"),
        ],
        differs: DIFFERS,
        run: |call| Box::pin(copy_acls(call)),
    },
];

/// The broker of `-b`, or all brokers of the cluster of `-c`, slaves too: users are not replicated.
async fn brokers(call: &Call) -> Result<Vec<String>, Failure> {
    match (call.line.value("b"), call.line.value("c")) {
        (Some(address), _) => Ok(vec![address.to_owned()]),
        (None, Some(cluster)) => call.cluster().await?.members(cluster),
        (None, None) => Err(Failure::Incomplete),
    }
}

fn given(call: &Call, name: &str) -> Option<String> {
    call.line.value(name).map(str::to_owned)
}

async fn put_user(call: &Call, verb: &str) -> Result<(), Failure> {
    let user = UserInfo {
        username: given(call, "u"),
        password: given(call, "p"),
        user_type: given(call, "t"),
        user_status: given(call, "s"),
    };
    let user = &user;
    call.each(&brokers(call).await?, |address| async move {
        match verb {
            "create" => call.admin.create_user(&address, user).await?,
            _ => call.admin.update_user(&address, user).await?,
        }
        call.say(&format!("{verb} user to {address} success.\n"))
    })
    .await
}

async fn delete_user(call: &Call) -> Result<(), Failure> {
    call.each(&brokers(call).await?, |address| async move {
        call.admin.delete_user(&address, call.line.text("u")).await?;
        call.say(&format!("delete user to {address} success.\n"))
    })
    .await
}

fn user_row(cells: [&str; 4]) -> String {
    let [name, password, kind, status] = cells;
    format!("{name:<16}  {password:<22}  {kind:<22}  {status:<22}\n")
}

/// What Java prints of something that is not there.
fn or_null(text: Option<&String>) -> &str {
    text.map_or("null", String::as_str)
}

fn user_table(users: &[UserInfo]) -> String {
    let mut text = user_row(["#UserName", "#Password", "#UserType", "#UserStatus"]);
    for UserInfo { username, password, user_type, user_status } in users {
        text += &user_row([username, password, user_type, user_status].map(|cell| or_null(cell.as_ref())));
    }
    text
}

async fn show_user(call: &Call) -> Result<(), Failure> {
    let name = call.line.text("u");
    for address in call.masters().await? {
        if let Some(user) = call.admin.user(&address, name).await? {
            return call.say(&user_table(&[user]));
        }
    }
    Err(Failure::NotThere(format!("there is no user \"{name}\"")))
}

async fn list_users(call: &Call) -> Result<(), Failure> {
    let is_cluster = !call.line.has("b");
    for address in call.masters().await? {
        let users = call.admin.users(&address, call.line.value("f")).await?;
        if users.is_empty() {
            continue;
        }
        call.say(&user_table(&users))?;
        return match is_cluster {
            true => call.say(&format!("get user from {address} success.\n")),
            false => Ok(()),
        };
    }
    Ok(())
}

async fn copy_users(call: &Call) -> Result<(), Failure> {
    let (from, to) = (call.line.text("f"), call.line.text("t"));
    let mut users = Vec::new();
    match call.line.value("u") {
        Some(names) => {
            for name in parts(names) {
                users.extend(call.admin.user(from, name).await?);
            }
        }
        None => users = call.admin.users(from, None).await?,
    }
    for user in users {
        let name = user.username.clone().unwrap_or_default();
        match call.admin.user(to, &name).await? {
            Some(_) => call.admin.update_user(to, &user).await?,
            None => call.admin.create_user(to, &user).await?,
        }
        call.say(&format!("copy user of {name} from {from} to {to} success.\n"))?;
    }
    Ok(())
}

/// The rules of a line: one for each resource.
fn rules(call: &Call) -> AclInfo {
    let line = &call.line;
    let list = |name: &str| line.value(name).map(|text| parts(text).map(str::to_owned).collect());
    let entries = parts(line.text("r")).map(|resource| PolicyEntryInfo {
        resource: Some(resource.to_owned()),
        actions: list("a"),
        source_ips: list("i"),
        decision: given(call, "d"),
    });
    let policy = PolicyInfo { entries: entries.collect(), policy_type: None };
    AclInfo { subject: line.text("s").to_owned(), policies: vec![policy] }
}

async fn put_acl(call: &Call, verb: &str) -> Result<(), Failure> {
    let acl = &rules(call);
    call.each(&brokers(call).await?, |address| async move {
        match verb {
            "create" => call.admin.create_acl(&address, acl).await?,
            _ => call.admin.update_acl(&address, acl).await?,
        }
        call.say(&format!("{verb} acl to {address} success.\n"))
    })
    .await
}

async fn delete_acl(call: &Call) -> Result<(), Failure> {
    call.each(&brokers(call).await?, |address| async move {
        call.admin.delete_acl(&address, call.line.text("s"), call.line.value("r")).await?;
        call.say(&format!("delete acl to {address} success.\n"))
    })
    .await
}

fn acl_row(cells: [&str; 6]) -> String {
    let [subject, kind, resource, actions, sources, decision] = cells;
    format!("{subject:<16}  {kind:<10}  {resource:<22}  {actions:<20}  {sources:<24}  {decision:<10}\n")
}

/// `[a, b]`, as Java prints lists.
fn list(items: Option<&Vec<String>>) -> String {
    items.map_or("null".to_owned(), |items| format!("[{}]", items.join(", ")))
}

fn acl_table(acls: &[AclInfo]) -> String {
    let mut text = acl_row(["#Subject", "#PolicyType", "#Resource", "#Actions", "#SourceIp", "#Decision"]);
    for AclInfo { subject, policies } in acls {
        if policies.is_empty() {
            text += &acl_row([subject, "", "", "", "", ""]);
        }
        for policy in policies {
            let kind = or_null(policy.policy_type.as_ref());
            for PolicyEntryInfo { resource, actions, source_ips, decision } in &policy.entries {
                let (actions, sources) = (list(actions.as_ref()), list(source_ips.as_ref()));
                let (resource, decision) = (or_null(resource.as_ref()), or_null(decision.as_ref()));
                text += &acl_row([subject, kind, resource, &actions, &sources, decision]);
            }
        }
    }
    text
}

async fn show_acl(call: &Call) -> Result<(), Failure> {
    let subject = call.line.text("s");
    let mut found = false;
    for address in call.masters().await? {
        if let Some(acl) = call.admin.acl(&address, subject).await? {
            found = true;
            call.say(&acl_table(&[acl]))?;
        }
    }
    let absent = || Failure::NotThere(format!("there are no rules for \"{subject}\""));
    found.then_some(()).ok_or_else(absent)
}

async fn list_acls(call: &Call) -> Result<(), Failure> {
    for address in call.masters().await? {
        let acls = call.admin.acls(&address, call.line.value("s"), call.line.value("r")).await?;
        if !acls.is_empty() {
            call.say(&acl_table(&acls))?;
        }
    }
    Ok(())
}

async fn copy_acls(call: &Call) -> Result<(), Failure> {
    let (from, to) = (call.line.text("f"), call.line.text("t"));
    let mut acls = Vec::new();
    match call.line.value("s") {
        Some(subjects) => {
            for subject in parts(subjects) {
                acls.extend(call.admin.acl(from, subject).await?);
            }
        }
        None => acls = call.admin.acls(from, None, None).await?,
    }
    for acl in acls {
        match call.admin.acl(to, &acl.subject).await? {
            Some(_) => call.admin.update_acl(to, &acl).await?,
            None => call.admin.create_acl(to, &acl).await?,
        }
        call.say(&format!("copy acl of {} from {from} to {to} success.\n", acl.subject))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_rules_stand_in_the_columns_of_the_official_tool() {
        let user = UserInfo {
            username: Some("reader".to_owned()),
            password: Some("p".to_owned()),
            user_type: Some("Normal".to_owned()),
            user_status: None,
        };
        let (gap, wide) = (" ".repeat(16), " ".repeat(22));
        assert_eq!(
            user_table(&[user]),
            format!(
                "#UserName         #Password               #UserType               #UserStatus{}\n\
                 reader            p{}   Normal{gap}  null{}\n",
                " ".repeat(11),
                &wide[..20],
                " ".repeat(18),
            )
        );
        let entry = PolicyEntryInfo {
            resource: Some("Topic:orders".to_owned()),
            actions: Some(vec!["Pub".to_owned(), "Sub".to_owned()]),
            source_ips: None,
            decision: Some("Allow".to_owned()),
        };
        let policy = PolicyInfo { entries: vec![entry], policy_type: Some("Custom".to_owned()) };
        let told = acl_table(&[
            AclInfo { subject: "User:reader".to_owned(), policies: vec![policy] },
            AclInfo { subject: "User:nobody".to_owned(), policies: Vec::new() },
        ]);
        let rows: Vec<&str> = told.lines().map(str::trim_end).collect();
        assert_eq!(
            rows[1..],
            [
                "User:reader       Custom      Topic:orders            [Pub, Sub]            null                      Allow",
                "User:nobody"
            ]
        );
    }
}
