package interop.mqadmin;

import static interop.mqadmin.House.BROKER;
import static interop.mqadmin.House.CLUSTER;

import interop.Lab;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * The official administration tool and ours ({@code THRUST mqadmin}) with the same lines against one server: both must print the same,
 * but for times, rates and ids, and for the order of what comes out of Java's hash tables. Lines that the official tool does not understand
 * are not here, since it ends the process with them.
 */
public final class Habit {
    private static final int PARALLEL = 10;
    private static final int SECONDS_MAX = 30;
    private static final String THRUST = System.getenv("THRUST");

    private final List<Comparison> together = new ArrayList<>();
    private final List<Comparison> alone = new ArrayList<>();

    /** One line, run by both. */
    private static final class Comparison {
        private final String name;
        private final Object[] arguments;
        private Setup before = () -> { };
        private boolean sorted;
        private boolean numbersVary;
        private String only;
        private String refusal;

        Comparison(String name, Object... arguments) {
            this.name = name;
            this.arguments = arguments;
        }

        /** Done before each of the two runs. */
        Comparison after(Setup setup) {
            before = setup;
            return this;
        }

        /** Lines come in the order of a hash table. */
        Comparison sorted() {
            sorted = true;
            return this;
        }

        /** Other numbers than rates change from run to run. */
        Comparison numbersVary() {
            numbersVary = true;
            return this;
        }

        /** What others do at the same time shows too: only lines with this, and those that begin with #, count. */
        Comparison only(String part) {
            only = part;
            return this;
        }

        /** Both say this, and ours ends with another code than 0. */
        Comparison refused(String text) {
            refusal = text;
            return this;
        }

        String line() {
            return name + Arrays.stream(arguments).map(argument -> " " + argument).collect(Collectors.joining());
        }
    }

    private interface Setup {
        void run() throws Exception;
    }

    private Comparison same(String name, Object... arguments) {
        Comparison comparison = new Comparison(name, arguments);
        together.add(comparison);
        return comparison;
    }

    private Comparison last(String name, Object... arguments) {
        Comparison comparison = new Comparison(name, arguments);
        alone.add(comparison);
        return comparison;
    }

    private void plan(House house) throws Exception {
        topics(house);
        groups(house);
        messages(house);
        brokers(house);
        // Each run finds no such topic.
        String fixed = "HabitStatic";
        last("updateStaticTopic", "-b", BROKER, "-t", fixed, "-qn", 4).after(() -> Console.run("deleteTopic", "-t", fixed, "-c", CLUSTER));
        last("updateStaticTopic", "-c", CLUSTER, "-t", fixed, "-qn", 3).refused("Cannot decrease the queue num for static topic 3 < 4");
        last("remappingStaticTopic", "-c", CLUSTER, "-t", fixed);
        last("topicRoute", "-t", fixed);
        last("topicStatus", "-t", fixed).sorted();
        last("updateNamesrvConfig", "-k", "scanNotActiveBrokerInterval", "-v", "4600");
        last("wipeWritePerm", "-b", BROKER);
        last("addWritePerm", "-b", BROKER);
        last("cleanExpiredCQ", "-b", house.broker);
        last("cleanUnusedTopic", "-c", CLUSTER);
        last("deleteExpiredCommitLog");
    }

    private void topics(House house) throws Exception {
        String topic = house.topic;
        same("topicRoute", "-t", topic);
        same("topicRoute", "-lt", topic);
        same("topicStatus", "--topic=" + topic);
        same("topicClusterList", "-topic", topic);
        same("topicList").sorted().only(house.consumerGroup);
        same("topicList", "-c").sorted().only(topic + " ");
        same("updateTopic", "-c", CLUSTER, "-t", "HabitTopic", "-r", 3, "-w", 3, "-a", "+message.type=NORMAL");
        same("UPDATETOPIC", "-b", house.broker, "-t", "HabitOrder", "-r4", "-w4", "-p", 6, "-o", "true")
            .after(() -> house.lab.admin().createAndUpdateKvConfig("ORDER_TOPIC_CONFIG", "HabitOrder", BROKER + ":2"));
        String perm = house.newTopic(2);
        same("updateTopicPerm", "-c", CLUSTER, "-t", perm, "-p", 4)
            .after(() -> Lab.eventually(10, "the topic is writable", () -> restored(house, perm)));
        same("deleteTopic", "-t", "HabitGone", "-c", CLUSTER).after(() -> Console.run("updateTopic", "-c", CLUSTER, "-t", "HabitGone"));
        same("updateOrderConf", "-t", "HabitQueues", "-m", "put", "-v", BROKER + ":4");
        same("updateOrderConf", "-t", "HabitKept", "-m", "get")
            .after(() -> house.lab.admin().createAndUpdateKvConfig("ORDER_TOPIC_CONFIG", "HabitKept", BROKER + ":2"));
        same("updateOrderConf", "-t", "HabitDropped", "-m", "delete");
        same("updateKvConfig", "-s", "HABIT", "-k", "color", "-v", "green");
        same("deleteKvConfig", "-s", "HABIT", "-k", "shape");
        same("updateTopicList", "-b", house.broker, "-f",
            house.file("habit-topics.json", "[{\"topicName\":\"HabitListed\",\"readQueueNums\":2,\"writeQueueNums\":3,\"perm\":6}]"));
        same("getNamesrvConfig").sorted();
        same("topicRoute", "-t", "HabitNowhere").refused("CODE: 17  DESC: No topic route info in name server for the topic: HabitNowhere");
        same("updateTopic", "-c", "HabitNowhere", "-t", "HabitTopic")
            .refused("Make sure the specified clusterName exists or the name server connected to is correct.");
    }

    private static boolean restored(House house, String topic) throws Exception {
        org.apache.rocketmq.common.TopicConfig config = new org.apache.rocketmq.common.TopicConfig(topic, 2, 2);
        house.lab.admin().createAndUpdateTopicConfig(house.broker, config);
        return house.lab.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm() == 6;
    }

    private void groups(House house) throws Exception {
        String group = house.consumerGroup;
        same("updateSubGroup", "-c", CLUSTER, "-g", "HabitGroup", "-r", 7, "-q", 2, "-m", "true");
        same("updateSubGroup", "-b", house.broker, "-g", "HabitPolicy", "-p",
            "{\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":{\"initial\":5000,\"max\":7200000,\"multiplier\":2}}");
        same("updateSubGroupList", "-b", house.broker, "-f", house.file("habit-groups.json", "[{\"groupName\":\"HabitListed\",\"retryMaxTimes\":5}]"));
        same("consumerStatus", "-g", group).numbersVary();
        same("deleteSubGroup", "-b", house.broker, "-g", "HabitGoneGroup", "-r", "true")
            .after(() -> Console.run("updateSubGroup", "-c", CLUSTER, "-g", "HabitGoneGroup"));
        same("getConsumerConfig", "-g", group);
        same("setConsumeMode", "-c", CLUSTER, "-t", house.topic, "-g", group, "-m", "PULL");
        same("consumerConnection", "-g", group).sorted();
        same("consumerConnection", "-g", group, "-b", house.broker).sorted();
        same("producerConnection", "-g", house.producerGroup, "-t", house.topic);
        same("producer", "-b", house.broker).only(house.producerGroup).numbersVary();
        same("consumerProgress", "-g", group);
        same("consumerProgress", "-g", group, "-t", house.topic, "-s", "true");
        same("consumerProgress").only(group + " ").numbersVary();
        same("consumerStatus", "-g", group, "-i", house.consumer.buildMQClientId()).sorted().numbersVary();
        same("brokerConsumeStats", "-b", house.broker).only(group + " ").sorted();
        String topic = house.ownTopic();
        String source = house.departedGroup(topic);
        same("cloneGroupOffset", "-s", source, "-d", group, "-t", topic);
        String moved = house.departedGroup(topic);
        same("resetOffsetByTime", "-g", moved, "-t", topic, "-s", 0).sorted();
        String one = house.departedGroup(topic);
        same("resetOffsetByTime", "-g", one, "-t", topic, "-s", -1, "-b", house.broker, "-q", 1, "-o", 3);
        String skipped = house.departedGroup(topic);
        same("skipAccumulatedMessage", "-g", skipped, "-t", topic).sorted();
    }

    private void messages(House house) throws Exception {
        String topic = house.topic;
        String id = house.sent.get(7).getMsgId();
        same("queryMsgById", "-t", topic, "-i", house.sent.get(7).getOffsetMsgId());
        same("queryMsgById", "-t", topic, "-i", id, "-f", "UTF-8");
        same("queryMsgByUniqueKey", "-t", topic, "-i", id);
        same("queryMsgByOffset", "-t", topic, "-b", BROKER, "-i", 1, "-o", 2);
        same("queryMsgByKey", "-t", topic, "-k", "key7");
        same("queryMsgByKey", "-t", topic, "-k", "nobody's").refused("CODE: 208  DESC: query message by key finished, but no message.");
        same("queryMsgByUniqueKey", "-t", topic, "-i", id, "-a", "-s", 0, "-e", Long.MAX_VALUE);
        Traced traced = new Traced(house.lab);
        traced.isShown(one -> Console.run("queryMsgTraceById", "-i", one));
        same("queryMsgTraceById", "-i", traced.id);
        same("queryMsgTraceById", "-i", "nobody's").refused("CODE: 208  DESC: query message by key finished, but no message.");
        same("printMsg", "-t", topic, "-s", "odd").sorted();
        same("printMsgByQueue", "-t", topic, "-a", BROKER, "-i", 1, "-p", "true", "-d", "true", "-f", "true");
        same("consumeMessage", "-t", topic, "-b", BROKER, "-i", 1, "-o", 2, "-c", 3);
        same("queryCq", "-t", topic, "-q", 1, "-i", 0, "-c", 3, "-b", house.broker, "-g", house.consumerGroup).sorted();
        same("sendMessage", "-t", house.ownTopic(), "-p", "from a tool", "-k", "key", "-c", "tag", "-b", BROKER, "-i", 1);
        same("checkMsgSendRT", "-t", house.ownTopic(), "-a", 3, "-s", 16).numbersVary();
        same("sendMsgStatus", "-b", BROKER, "-s", 16, "-c", 2).numbersVary();
    }

    private void brokers(House house) {
        same("clusterList").numbersVary();
        same("clusterList", "-m").numbersVary();
        same("brokerStatus", "-b", house.broker).numbersVary();
        same("brokerStatus", "-c", CLUSTER).numbersVary();
        same("getBrokerConfig", "-b", house.broker).sorted();
        same("getBrokerConfig", "-c", CLUSTER).sorted();
        same("updateBrokerConfig", "-b", house.broker, "-k", "defaultQueryMaxNum", "-v", 32);
        same("haStatus", "-b", house.broker).numbersVary();
        same("statsAll", "-t", house.topic).numbersVary();
        same("exportConfigs", "-c", CLUSTER, "-f", house.directory);
        same("exportMetadata", "-c", CLUSTER, "-f", house.directory);
        same("exportMetrics", "-c", CLUSTER, "-f", house.directory);
        same("createUser", "-b", house.broker, "-u", "u", "-p", "p").refused("users");
        same("listAcl", "-c", CLUSTER).refused("users");
    }

    public static void main(String[] chosen) throws Exception {
        Lab.check(THRUST != null, "THRUST does not name our program");
        Console.install();
        Lab lab = Lab.of("Habit");
        int failed = 0;
        int all = 0;
        try {
            House house = new House(lab);
            Habit habit = new Habit();
            habit.plan(house);
            List<String> names = List.of(chosen);
            ExecutorService pool = Executors.newFixedThreadPool(PARALLEL);
            List<Future<Boolean>> running = new ArrayList<>();
            for (Comparison one : habit.together) {
                if (names.isEmpty() || names.contains(one.name)) running.add(pool.submit(() -> passes(one)));
            }
            for (Future<Boolean> passed : running) {
                all++;
                if (!passed.get()) failed++;
            }
            for (Comparison one : habit.alone) {
                if (!names.isEmpty() && !names.contains(one.name)) continue;
                all++;
                if (!passes(one)) failed++;
            }
            house.close();
        } finally {
            lab.close();
        }
        Console.say((all - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static boolean passes(Comparison one) {
        long start = System.nanoTime();
        try {
            one.before.run();
            String official = Console.run(one.name, one.arguments).text;
            one.before.run();
            Ours ours = ours(one);
            if (one.refusal != null) {
                Lab.check(official.contains(one.refusal) || one.name.equals("createUser"), "the official tool does not say \"%s\": %s", one.refusal, official);
                Lab.check(ours.text.contains(one.refusal), "ours does not say \"%s\": %s", one.refusal, ours.text);
                Lab.check(ours.code != 0, "ours ends with 0");
            } else {
                Lab.check(ours.code == 0, "ours ends with %d: %s", ours.code, ours.text);
                compare(normal(one, official), normal(one, ours.text));
            }
        } catch (Throwable failure) {
            Console.say("FAIL " + one.line() + ": " + failure.getMessage());
            return false;
        }
        Console.say(String.format(Locale.ROOT, "ok  %s  %.1f", one.line(), (System.nanoTime() - start) / 1e9));
        return true;
    }

    private static final class Ours {
        int code;
        String text;
    }

    private static Ours ours(Comparison one) throws Exception {
        List<String> line = new ArrayList<>(List.of(THRUST, "mqadmin", one.name));
        for (Object argument : one.arguments) line.add(String.valueOf(argument));
        line.addAll(List.of("-n", Lab.NAMESRV));
        File out = File.createTempFile("habit", ".out");
        ProcessBuilder builder = new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(out);
        builder.environment().put("TMPDIR", System.getProperty("java.io.tmpdir"));
        Process process = builder.start();
        Ours ours = new Ours();
        if (!process.waitFor(SECONDS_MAX, TimeUnit.SECONDS)) process.destroyForcibly();
        ours.code = process.waitFor();
        ours.text = new String(java.nio.file.Files.readAllBytes(out.toPath()), StandardCharsets.UTF_8);
        out.delete();
        return ours;
    }

    private static final Pattern TIME = Pattern.compile("\\d{4}-\\d\\d-\\d\\d[ #]\\d\\d:\\d\\d:\\d\\d([,:]\\d{3})?");
    private static final Pattern MAP = Pattern.compile("\\{([^{}\"]+=[^{}\"]*)\\}");

    private static List<String> normal(Comparison one, String text) {
        List<String> lines = new ArrayList<>();
        for (String line : text.split("\n", -1)) {
            if (one.only != null && !line.contains(one.only) && !line.startsWith("#")) continue;
            line = TIME.matcher(line).replaceAll("TIME");
            line = line.replaceAll("\\b[0-9A-F]{32,60}\\b", "ID").replaceAll("\\b\\d+\\.\\d+\\b", "RATE").replaceAll("\\b1\\d{12}\\b", "MILLIS");
            line = sortMaps(line);
            // Numbers of other widths move what stands behind them.
            if (one.numbersVary && (!line.startsWith("#") || line.contains("\t"))) {
                line = line.replaceAll("RATE|\\d+", "N").replaceAll("N [KMG]?i?B\\b", "N B").replaceAll(" +", " ");
            }
            lines.add(line);
        }
        if (one.sorted) lines.sort(null);
        return lines;
    }

    /** {@code {b=1, a=2}} with its parts in order. */
    private static String sortMaps(String line) {
        Matcher found = MAP.matcher(line);
        StringBuilder sorted = new StringBuilder();
        while (found.find()) {
            String parts = Arrays.stream(found.group(1).split(", ")).sorted().collect(Collectors.joining(", "));
            found.appendReplacement(sorted, Matcher.quoteReplacement("{" + parts + "}"));
        }
        return found.appendTail(sorted).toString();
    }

    private static void compare(List<String> official, List<String> ours) {
        int lines = Math.max(official.size(), ours.size());
        for (int i = 0; i < lines; i++) {
            String theirs = i < official.size() ? official.get(i) : "(nothing)";
            String own = i < ours.size() ? ours.get(i) : "(nothing)";
            Lab.check(theirs.equals(own), "line %d differs\n    official: |%s|\n    ours:     |%s|", i + 1, brief(theirs), brief(own));
        }
    }

    private static String brief(String line) {
        return line.length() <= 900 ? line : line.substring(0, 900) + "…";
    }
}
