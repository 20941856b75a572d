package interop.mqadmin;

import static interop.mqadmin.House.BROKER;
import static interop.mqadmin.House.CLUSTER;

import interop.mqadmin.Mqadmin.Plan;

/** What this server does not do: each command is told so in words, with the name of the request and the reason. */
final class Later {
    private static final String REPLICATION = "replication comes later";
    private static final String CONTROLLER = "there is no controller in this process";
    private static final String USERS = "users and permissions come later";
    /** Stand for what only the running house knows. */
    private static final Object ADDRESS = new Object();
    private static final Object TOPIC = new Object();

    private Later() {
    }

    static void plan(Plan plan) {
        refused(plan, REPLICATION, "resetMasterFlushOffset", "-b", ADDRESS, "-o", 0);
        refused(plan, REPLICATION, "getBrokerEpoch", "-b", BROKER);

        refused(plan, CONTROLLER, "getSyncStateSet", "-a", ADDRESS, "-b", BROKER);
        refused(plan, CONTROLLER, "getControllerMetaData", "-a", ADDRESS);
        refused(plan, CONTROLLER, "getControllerConfig", "-a", ADDRESS);
        refused(plan, CONTROLLER, "updateControllerConfig", "-a", ADDRESS, "-k", "k", "-v", "v");
        refused(plan, CONTROLLER, "electMaster", "-a", ADDRESS, "-b", 0, "-bn", BROKER, "-c", CLUSTER);
        refused(plan, CONTROLLER, "cleanBrokerMetadata", "-a", ADDRESS, "-bn", BROKER, "-c", CLUSTER, "-b", 1);

        refused(plan, USERS, "createUser", "-b", ADDRESS, "-u", "u", "-p", "p");
        refused(plan, USERS, "updateUser", "-b", ADDRESS, "-u", "u", "-p", "p");
        refused(plan, USERS, "deleteUser", "-b", ADDRESS, "-u", "u");
        refused(plan, USERS, "getUser", "-b", ADDRESS, "-u", "u");
        refused(plan, USERS, "listUser", "-b", ADDRESS);
        refused(plan, USERS, "copyUser", "-f", ADDRESS, "-t", ADDRESS);
        refused(plan, USERS, "createAcl", "-b", ADDRESS, "-s", "User:u", "-r", "Topic:t", "-a", "Pub", "-d", "Allow");
        refused(plan, USERS, "updateAcl", "-b", ADDRESS, "-s", "User:u", "-r", "Topic:t", "-a", "Pub", "-d", "Allow");
        refused(plan, USERS, "deleteAcl", "-b", ADDRESS, "-s", "User:u");
        refused(plan, USERS, "getAcl", "-b", ADDRESS, "-s", "User:u");
        refused(plan, USERS, "listAcl", "-b", ADDRESS);
        refused(plan, USERS, "copyAcl", "-f", ADDRESS, "-t", ADDRESS);

        refused(plan, "lite topics come later", "getBrokerLiteInfo", "-b", ADDRESS);
        withoutReason(plan, "getParentTopicInfo", "-p", TOPIC);
        withoutReason(plan, "getLiteTopicInfo", "-p", TOPIC, "-l", "lite");
        withoutReason(plan, "getLiteClientInfo", "-p", TOPIC, "-g", "g", "-c", "c");
        withoutReason(plan, "getLiteGroupInfo", "-p", TOPIC, "-g", "g", "-l", "lite");
        withoutReason(plan, "triggerLiteDispatch", "-p", TOPIC, "-g", "g", "-b", BROKER);

        refused(plan, "there is no RocksDB here", "checkRocksdbCqWriteProgress", "-c", CLUSTER);

        served(plan, "exportPopRecord", "POP_ROLLBACK is not served yet", "-b", ADDRESS);
        served(plan, "switchTimerEngine", "SWITCH_TIMER_ENGINE is not served yet", "-b", ADDRESS, "-e", "F");
    }

    private static void refused(Plan plan, String reason, String command, Object... arguments) {
        plan.check(command, house -> Console.run(command, filled(house, arguments)).says("CODE: 3", "is not served yet; " + reason));
    }

    /** The tool says that it failed on this broker, and keeps the answer to itself. */
    private static void withoutReason(Plan plan, String command, Object... arguments) {
        plan.check(command, house -> Console.run(command, filled(house, arguments)).lacks("Exception").matches(BROKER + ".*error"));
    }

    /** Either done or refused in words. */
    private static void served(Plan plan, String command, String refusal, Object... arguments) {
        plan.check(command, house -> Console.run(command, filled(house, arguments)).saysOneOf("success", refusal));
    }

    private static Object[] filled(House house, Object... arguments) {
        Object[] filled = arguments.clone();
        for (int i = 0; i < filled.length; i++) {
            if (filled[i] == ADDRESS) filled[i] = house.broker;
            if (filled[i] == TOPIC) filled[i] = house.topic;
        }
        return filled;
    }
}
