using System.Globalization;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Runtimes detect the limits of their run: the exact number of processors, and the memory within 5 %.</summary>
[LongTests]
[Collection(RealPrograms.Name)]
public sealed class VisibleLimitTests(ProgramsImage programs)
{
    private const int Megabytes = 512;

    // Prints the processors and the memory limit in bytes that the runtime reports.
    private static readonly Dictionary<string, string> Table = new()
    {
        ["java"] = """
            cat > /tmp/Main.java <<'END'
            import java.lang.management.ManagementFactory;
            public class Main {
                public static void main(String[] args) {
                    var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
                    System.out.println(Runtime.getRuntime().availableProcessors());
                    System.out.println(system.getTotalMemorySize());
                }
            }
            END
            java -Xshare:auto /tmp/Main.java
            """,
        ["node"] = """
            node -e 'const os = require("os"); console.log(os.cpus().length); console.log(process.constrainedMemory ? Number(process.constrainedMemory()) : os.totalmem())'
            """,
        ["node, of the machine"] = """
            node -e 'const os = require("os"); console.log(os.availableParallelism ? os.availableParallelism() : os.cpus().length); console.log(os.totalmem())'
            """,
        ["go"] = """
            export GOCACHE=/tmp/cache GO111MODULE=off
            cat > /tmp/main.go <<'END'
            package main
            import ("fmt"; "io/ioutil"; "runtime"; "strings")
            func main() {
                if runtime.NumCPU() != runtime.GOMAXPROCS(0) { panic("GOMAXPROCS") }
                limit, err := ioutil.ReadFile("/sys/fs/cgroup/memory/memory.limit_in_bytes")
                if err != nil { panic(err) }
                fmt.Println(runtime.NumCPU())
                fmt.Println(strings.TrimSpace(string(limit)))
            }
            END
            go run /tmp/main.go
            """,
        ["procps"] = "nproc; free -b | awk '/^Mem:/ { print $2 }'",
    };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_runtime_sees_the_limits_of_its_run(string runtime)
    {
        SandboxRequest request = ProgramsImage.Shell(Table[runtime]);
        request.Limits = new() { CpuCores = 1, MemoryBytes = Megabytes * ByteSize.MiB };
        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        Assert.All([cold, pooled], text => AssertFacts(text, 1, Megabytes));
    }

    [Theory]
    [InlineData(0.5, 1)]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    public async Task Dotnet_sees_the_limits_of_its_run(double cores, int processors)
    {
        SandboxRequest request = ProgramsImage.Shell("dotnet /opt/limits/limits.dll");
        request.Limits = new() { CpuCores = cores, MemoryBytes = Megabytes * ByteSize.MiB };
        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        // The garbage collector uses three quarters of a cgroup's limit by default.
        Assert.All([cold, pooled], text => AssertFacts(text, Math.Min(processors, Environment.ProcessorCount), Megabytes * 3 / 4));
    }

    [Theory]
    [InlineData("java")]
    [InlineData("node")]
    public async Task A_program_that_only_makes_garbage_succeeds_in_256_MiB(string runtime)
    {
        SandboxRequest request = ProgramsImage.Shell(runtime == "java"
            ? """
                cat > /tmp/Main.java <<'END'
                public class Main {
                    static Object kept;
                    public static void main(String[] args) {
                        for (int i = 0; i < 4000; i++) kept = new byte[1 << 20];
                        System.out.println("collected");
                    }
                }
                END
                cd /tmp
                javac -J-Xmx96m -J-XX:TieredStopAtLevel=1 Main.java
                java Main
                """
            : """
                node -e 'let kept; for (let i = 0; i < 4000; i++) kept = new Array(1 << 17).fill(i); console.log("collected")'
                """);
        request.Limits = new() { CpuCores = 1, MemoryBytes = 256 * ByteSize.MiB };
        (string cold, string pooled) = await programs.RunColdAndPooledAsync(request);

        Assert.Equal(("collected\n", "collected\n"), (cold, pooled));
    }

    [Fact]
    public async Task A_heap_of_Java_fits_the_memory_of_its_run()
    {
        SandboxRequest request = ProgramsImage.Shell("java -XX:+PrintFlagsFinal -version | awk '$2 == \"MaxHeapSize\" { print $4 }'");
        request.Limits = new() { CpuCores = 1, MemoryBytes = Megabytes * ByteSize.MiB };
        SandboxResult result = await programs.Cold.RunAsync(request, Cancel);

        // MaxRAMPercentage is 25, and MinRAMPercentage 50 for small machines.
        Assert.InRange(long.Parse(result.StandardOutput, CultureInfo.InvariantCulture), (long)Megabytes << 18, (long)Megabytes << 19);
    }

    private static void AssertFacts(string text, int processors, int megabytes)
    {
        string[] lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(processors.ToString(CultureInfo.InvariantCulture), lines[0]);
        double expected = (double)megabytes * (1 << 20);
        Assert.InRange(double.Parse(lines[1], CultureInfo.InvariantCulture), expected * 0.95, expected * 1.05);
    }
}
