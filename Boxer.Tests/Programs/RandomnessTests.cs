using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Pooled sandboxes share no randomness, although they booted in the same way and ran the same warm-up.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class RandomnessTests(SharedRunner shared)
{
    private const int Runs = 8;

    // Each line is the name of a source and its value. Python's program and its heap have the same addresses in each run, because it is no PIE.
    private const string Program = """
        import ctypes, os, random, tempfile, uuid
        libc = ctypes.CDLL(None)
        libc.getauxval.restype = ctypes.c_ulong
        def read(path): return open(path, "rb").read(32)
        maps = [line.split() for line in open("/proc/self/maps")]
        print("os.urandom", os.urandom(32).hex())
        print("getrandom", os.getrandom(32).hex())
        print("/dev/urandom", read("/dev/urandom").hex())
        print("/dev/random", read("/dev/random").hex())
        print("random/boot_id", read("/proc/sys/kernel/random/boot_id").decode())
        print("AT_RANDOM", ctypes.string_at(libc.getauxval(25), 16).hex())
        print("hash", hash("x"))
        print("random", random.random())
        print("uuid4", uuid.uuid4())
        print("mkdtemp", tempfile.mkdtemp())
        print("libc", next(line[0] for line in maps if "libc.so" in line[-1]))
        print("stack", next(line[0] for line in maps if line[-1] == "[stack]"))
        """;

    [Fact]
    public async Task Eight_runs_of_a_warmed_pool_have_no_random_value_in_common()
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        options.Pool.MaxSandboxes = Runs;
        options.Pool.Images = [new() { Image = PythonImage.Name, Count = Runs, WarmUp = ["python3", "-c", "import random, uuid; print(random.random(), uuid.uuid4())"] }];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);

        var values = new List<string[]>();
        for (int run = 0; run < Runs; run++)
        {
            SandboxResult result = await runner.WarmAsync(SharedRunner.Python(Program));
            Assert.Equal("", result.StandardError);
            values.Add(result.StandardOutput.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        }

        Assert.All(values, lines => Assert.Equal(12, lines.Length));
        for (int source = 0; source < 12; source++)
        {
            Assert.Distinct(values.Select(lines => lines[source]));
        }
    }
}
