package interop.mqadmin;

import interop.Lab;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * The tool's own main, run in this process, with what it prints. Several commands run beside each other, since each takes up to
 * 3 s to shut its client down: what a thread and its children print goes to the tape of their command.
 */
final class Console {
    private static final PrintStream SCREEN = System.out;
    private static final boolean SHOW = System.getenv("MQADMIN_SHOW") != null;
    private static final InheritableThreadLocal<ByteArrayOutputStream> TAPE = new InheritableThreadLocal<>();
    /** The tool names its client after the millisecond it starts in. */
    private static final int APART_MS = 20;
    private static final Object START = new Object();

    private Console() {
    }

    /** {@code mqadmin name arguments…} against our nameserver. */
    static Printed run(String name, Object... arguments) {
        List<String> line = lineOf(name, arguments);
        Printed printed = capture(line, () -> freshMain(line));
        // On a busy machine two commands that were told to start apart still read one millisecond.
        for (int again = 0; again < 3 && printed.text.contains("has created already"); again++) {
            printed = capture(line, () -> freshMain(line));
        }
        return printed;
    }

    /** The same for a command that goes on for ever: ended after some seconds. */
    static Printed runFor(int seconds, String name, Object... arguments) {
        List<String> line = lineOf(name, arguments);
        return capture(line, () -> {
            Thread command = new Thread(() -> {
                try {
                    freshMain(line);
                } catch (Exception failure) {
                    failure.printStackTrace();
                }
            }, name);
            command.setDaemon(true);
            command.start();
            command.join(seconds * 1000L);
            command.interrupt();
            command.join(5000);
        });
    }

    private static List<String> lineOf(String name, Object... arguments) {
        List<String> line = new ArrayList<>(List.of(name));
        for (Object argument : arguments) line.add(String.valueOf(argument));
        line.addAll(List.of("-n", Lab.NAMESRV));
        return line;
    }

    /** Commands keep clients in their fields, and all of them stand in one static list: each run gets classes of its own. */
    private static void freshMain(List<String> line) throws Exception {
        try (ToolLoader loader = new ToolLoader()) {
            Class<?> startup = loader.loadClass("org.apache.rocketmq.tools.command.MQAdminStartup");
            startup.getMethod("main", String[].class).invoke(null, (Object) line.toArray(new String[0]));
        }
    }

    /** Loads the commands again, and all else from where it is. */
    private static final class ToolLoader extends URLClassLoader {
        private static final String COMMANDS = "org.apache.rocketmq.tools.command.";
        private static final URL JAR = MQAdminStartup.class.getProtectionDomain().getCodeSource().getLocation();

        ToolLoader() {
            super(new URL[] {JAR}, Console.class.getClassLoader());
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (!name.startsWith(COMMANDS)) return super.loadClass(name, resolve);
            synchronized (getClassLoadingLock(name)) {
                Class<?> loaded = findLoadedClass(name);
                return loaded == null ? findClass(name) : loaded;
            }
        }
    }

    private interface Work {
        void run() throws Exception;
    }

    private static Printed capture(List<String> line, Work work) {
        ByteArrayOutputStream tape = new ByteArrayOutputStream();
        TAPE.set(tape);
        try {
            synchronized (START) {
                Thread.sleep(APART_MS);
            }
            work.run();
        } catch (Exception failure) {
            failure.printStackTrace();
        } finally {
            TAPE.remove();
        }
        Printed printed = new Printed(String.join(" ", line), tape.toString(StandardCharsets.UTF_8));
        if (SHOW) say("$ mqadmin " + printed.line + "\n" + printed.text);
        return printed;
    }

    /** Prints to the real screen. */
    static void say(String text) {
        synchronized (SCREEN) {
            SCREEN.println(text);
        }
    }

    /** Lets all that is printed from now on go to tapes, or to the screen where there is none. */
    static void install() {
        System.setOut(new PrintStream(new Router(SCREEN), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Router(System.err), true, StandardCharsets.UTF_8));
    }

    private static final class Router extends OutputStream {
        private final PrintStream without;

        Router(PrintStream without) {
            this.without = without;
        }

        @Override
        public void write(int one) throws IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
            OutputStream tape = TAPE.get();
            (tape == null ? without : tape).write(bytes, from, count);
        }
    }

    /** What a command has printed, on both streams. */
    static final class Printed {
        private final String line;
        final String text;

        Printed(String line, String text) {
            this.line = line;
            this.text = text;
        }

        /** Each of these texts is there. */
        Printed says(String... parts) {
            for (String part : parts) {
                Lab.check(text.contains(part), "mqadmin %s: \"%s\" is not in: %s", line, part, brief());
            }
            return this;
        }

        /** Some line of it looks like this. */
        Printed matches(String pattern) {
            boolean found = text.lines().anyMatch(row -> Pattern.compile(pattern).matcher(row).find());
            Lab.check(found, "mqadmin %s: no line matches %s in: %s", line, pattern, brief());
            return this;
        }

        /** One of these texts is there. */
        Printed saysOneOf(String... parts) {
            Lab.check(List.of(parts).stream().anyMatch(text::contains), "mqadmin %s: none of %s is in: %s", line, List.of(parts), brief());
            return this;
        }

        /** None of these texts is there. */
        Printed lacks(String... parts) {
            for (String part : parts) {
                Lab.check(!text.contains(part), "mqadmin %s: \"%s\" is in: %s", line, part, brief());
            }
            return this;
        }

        /** No exception and no usage text. */
        Printed fine() {
            return lacks("Exception", "usage: mqadmin");
        }

        /** So many lines begin with this. */
        Printed rows(int count, String beginning) {
            long found = text.lines().filter(row -> row.startsWith(beginning)).count();
            Lab.check(found == count, "mqadmin %s: %d lines begin with \"%s\", not %d, in: %s", line, found, beginning, count, brief());
            return this;
        }

        private String brief() {
            return text.length() <= 1500 ? text : text.substring(0, 1500) + "…";
        }
    }
}
