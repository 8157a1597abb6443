using System.Text.Json;
using System.Text.Json.Serialization;
using Boxer.Networking;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// The runtime configuration of a sandbox (OCI runtime spec, config.md). It contains only values of Boxer: nothing of an image, a request or a registry
/// reaches it.
/// </summary>
internal static partial class OciSpec
{
    /// <summary>The path of PID 1's program in the sandbox.</summary>
    internal const string InitPath = "/.boxer/init";

    /// <summary>Writes config.json.</summary>
    /// <param name="rootPath">The root of the image on this host.</param>
    /// <param name="initPath">The program to mount at <see cref="InitPath"/>; <see langword="null"/> if the root has it.</param>
    /// <param name="network">How the sandbox joins its network.</param>
    internal static byte[] Write(string rootPath, string? initPath, NetworkConfiguration network)
    {
        List<Mount> mounts = [new("/proc", "proc", "proc", []), new("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])];
        if (initPath is not null)
        {
            mounts.Add(new Mount(InitPath, "bind", initPath, ["bind", "ro", "nosuid", "nodev"]));
        }

        List<Namespace> namespaces = [new("pid"), new("mount"), new("ipc"), new("uts")];
        if (network.Stack != NetworkStack.Host)
        {
            namespaces.Add(new("network", network.NamespacePath));
        }

        var spec = new Spec(
            "1.0.2",
            new ProcessSpec(
                new UserSpec(0, 0),
                [InitPath],
                [],
                "/",
                new Capabilities(InitProtocol.RequiredCapabilities, InitProtocol.RequiredCapabilities, InitProtocol.RequiredCapabilities)),
            // Writable, because the runtime puts a temporary layer in memory on top: --overlay2=root:memory.
            new RootSpec(rootPath, Readonly: false),
            "sandbox",
            mounts,
            new LinuxSpec(namespaces));
        return JsonSerializer.SerializeToUtf8Bytes(spec, SpecContext.Default.Spec);
    }

    internal sealed record Spec(string OciVersion, ProcessSpec Process, RootSpec Root, string Hostname, IReadOnlyList<Mount> Mounts, LinuxSpec Linux);

    internal sealed record ProcessSpec(UserSpec User, IReadOnlyList<string> Args, IReadOnlyList<string> Env, string Cwd, Capabilities Capabilities);

    internal sealed record UserSpec(uint Uid, uint Gid);

    internal sealed record Capabilities(IReadOnlyList<string> Bounding, IReadOnlyList<string> Effective, IReadOnlyList<string> Permitted);

    internal sealed record RootSpec(string Path, bool Readonly);

    internal sealed record Mount(string Destination, string Type, string Source, IReadOnlyList<string> Options);

    internal sealed record LinuxSpec(IReadOnlyList<Namespace> Namespaces);

    internal sealed record Namespace(string Type, string? Path = null);

    [JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
    [JsonSerializable(typeof(Spec))]
    private sealed partial class SpecContext : JsonSerializerContext;
}
