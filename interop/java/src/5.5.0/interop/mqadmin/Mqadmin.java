package interop.mqadmin;

import interop.Lab;
import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/**
 * The official administration tool over its own list of commands: each is run with realistic arguments and judged by what it
 * prints, or stands in {@link Later} with the clear refusal it gets, or in {@link #NOT_RUN} with the reason.
 */
public final class Mqadmin {
    /** What cannot be run here, and why. */
    private static final Map<String, String> NOT_RUN = Map.of(
        "startMonitoring", "never ends, and asks nothing that the other commands do not ask",
        "exportMetadataInRocksDB", "reads a RocksDB directory of the machine it runs on, and no broker",
        "rocksDBConfigToJson", "likewise",
        "dumpCompactionLog", "reads a file of the machine it runs on, and no broker",
        "addBroker", "talks to a broker container, which is no part of a broker",
        "removeBroker", "likewise");

    private static final int PARALLEL = 12;

    interface Check {
        void run(House house) throws Exception;
    }

    /** Checks by the name of the command. */
    static final class Plan {
        private final Map<String, List<Check>> checks = new LinkedHashMap<>();
        private final Set<String> alone = new HashSet<>();

        void check(String command, Check check) {
            checks.computeIfAbsent(command, name -> new ArrayList<>()).add(check);
        }

        /** One that others would notice; these run after all others. */
        void alone(String command, Check check) {
            check(command, check);
            alone.add(command);
        }
    }

    public static void main(String[] chosen) throws Exception {
        Plan plan = new Plan();
        Topics.plan(plan);
        Messages.plan(plan);
        Groups.plan(plan);
        Brokers.plan(plan);
        Later.plan(plan);
        List<String> names = chosen.length == 0 ? List.copyOf(plan.checks.keySet()) : List.of(chosen);

        Console.install();
        Lab lab = Lab.of("Mqadmin");
        int failed = 0;
        try {
            House house = new House(lab);
            ExecutorService pool = Executors.newFixedThreadPool(PARALLEL);
            List<Future<Boolean>> together = new ArrayList<>();
            for (String name : names) {
                if (!plan.alone.contains(name)) together.add(pool.submit(() -> passes(name, plan, house)));
            }
            for (Future<Boolean> passed : together) {
                if (!passed.get()) failed++;
            }
            for (String name : names) {
                if (plan.alone.contains(name) && !passes(name, plan, house)) failed++;
            }
            house.close();
        } finally {
            lab.close();
        }
        int complete = chosen.length == 0 ? 1 : 0;
        if (complete == 1 && !isComplete(plan)) failed++;
        Console.say((names.size() + complete - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static boolean passes(String name, Plan plan, House house) {
        long start = System.nanoTime();
        try {
            List<Check> checks = plan.checks.get(name);
            Lab.check(checks != null, "there is no such check");
            for (Check check : checks) check.run(house);
        } catch (Throwable failure) {
            Console.say("FAIL " + name + ": " + String.valueOf(failure.getMessage()).replace('\n', ' ') + at(failure));
            return false;
        }
        Console.say(String.format(Locale.ROOT, "ok  %s  %.1f", name, (System.nanoTime() - start) / 1e9));
        return true;
    }

    private static String at(Throwable failure) {
        for (StackTraceElement frame : failure.getStackTrace()) {
            boolean ours = frame.getClassName().startsWith("interop.mqadmin.") && !frame.getClassName().contains("Console");
            if (ours) return "  (" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
        }
        return "";
    }

    /** Every command that the tool has is checked, or has a reason. */
    private static boolean isComplete(Plan plan) throws Exception {
        MQAdminStartup.initCommand();
        Field field = MQAdminStartup.class.getDeclaredField("SUB_COMMANDS");
        field.setAccessible(true);
        TreeSet<String> missing = new TreeSet<>();
        for (Object command : (Collection<?>) field.get(null)) missing.add(((SubCommand) command).commandName());
        missing.removeAll(plan.checks.keySet());
        missing.removeAll(NOT_RUN.keySet());
        Console.say((missing.isEmpty() ? "ok  " : "FAIL ") + "EveryCommandIsChecked" + (missing.isEmpty() ? "  0.0" : ": not " + missing));
        return missing.isEmpty();
    }
}
