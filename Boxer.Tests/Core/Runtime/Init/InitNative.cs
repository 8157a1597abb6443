using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>boxer-init built with the address and undefined-behaviour sanitizers, as PID 1 of namespaces of this machine.</summary>
internal static class InitNative
{
    /// <summary>Boots a sandbox in the root of a fixture.</summary>
    internal static async Task<InitSandbox> BootAsync(InitFixture fixture)
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }

        Install(fixture.Root);

        // PID 1 unlinks its own program.
        InitFixture.Copy(Built(fixture.Root), Path.Combine(fixture.Root, ".boxer", "boxer-init"));
        return await InitSandbox.StartNativeAsync(fixture.Root);
    }

    // Installs the program with the sanitizers and their libraries, if the compiler has them.
    private static void Install(string root)
    {
        string target = Built(root);
        if (File.Exists(target))
        {
            return;
        }

        if (!File.Exists(SourcePath("boxer-init.c")))
        {
            InitFixture.Copy(InitBinary.Find(), target);
            return;
        }

        try
        {
            IEnumerable<string> others = Directory.EnumerateFiles(SourcePath(""), "boxer-*.c").Where(path => Path.GetFileName(path) != "boxer-init.c");

            // The first call of a function in a library would save registers, with whatever was copied last, on the stack; the real program is static.
            InitFixture.Compile(
                SourcePath("boxer-init.c"), target, [.. others, "-std=c11", "-pthread", "-g", "-O1", "-fsanitize=address,undefined",
                "-fno-sanitize-recover=all", "-static-libasan", "-static-libubsan", "-Wl,-z,now"]);
        }
        catch (InvalidOperationException)
        {
            InitFixture.Copy(InitBinary.Find(), target);
            return;
        }

        foreach (string word in InitFixture.Run("ldd", target).Split([' ', '\t', '\n']).Where(word => word.StartsWith('/')))
        {
            string copy = root + word;
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            InitFixture.Copy(word, copy);
        }
    }

    private static string SourcePath(string name) => Path.Join(Checkout.Root, "Boxer.Core/Runtime/Init", name);

    private static string Built(string root) => Path.Combine(root, ".boxer", "built");
}
