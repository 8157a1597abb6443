using System.Net;
using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

/// <summary><see cref="CheckedRequest"/> and <see cref="CheckedOptions"/> have everything parsed.</summary>
public sealed class CheckedRequestTests
{
    private static readonly INetworkMode[] Modes = [new NamedMode("none"), new NamedMode("sandbox"), new NamedMode("lab")];

    [Fact]
    public void Validate_parses_the_whole_request_and_fills_in_defaults()
    {
        var request = new SandboxRequest("python:3.12-slim", "python3", "-c", "1")
        {
            WorkingDirectory = "/a//b/./c/",
            User = "app:50",
            Network = "sandbox",
            Egress = new EgressPolicy { Allow = ["pypi.org:443"], QuotaBytes = 5 },
            Limits = new() { Pids = 7 },
            Workspace = new() { Path = "/w/x", MaxChangesBytes = 3 },
            FairnessKey = "key",
            MergeStandardError = true,
            KeepStandardOutput = false,
            StopGrace = TimeSpan.FromSeconds(1),
            OutputFiles = OutputFilePolicy.Discard,
            Environment = { ["A"] = "b" },
            Files = { SandboxFile.FromText("job/x", "") },
        };

        CheckedRequest result = Validator(new BoxerOptions { Egress = new EgressPolicy { Deny = ["203.0.113.0/24"], QuotaBytes = 9 } }).Validate(request);

        Assert.Equal(ImageReference.Parse("python:3.12-slim"), result.Image);
        Assert.Equal("sandbox", result.Network.Name);
        Assert.Equal(["python3", "-c", "1"], result.Command);
        Assert.Equal(("/a/b/c", "/w/x"), (result.WorkingDirectory?.Text, result.Workspace?.Path.Text));
        Assert.Equal(new UserName("app:50", "app", null, "50", 50), result.User);
        Assert.Equal((7, LimitDefaults.Values.MemoryBytes), (result.Limits.Pids, result.Limits.MemoryBytes));
        Assert.Equal(("key", true, false, TimeSpan.FromSeconds(1), 3L), (result.FairnessKey, result.MergeStandardError, result.KeepStandardOutput, result.StopGrace, result.Workspace!.MaxChangesBytes));
        Assert.Equal(OutputFilePolicy.Discard, result.OutputFiles);
        Assert.Equal("b", Assert.Single(result.Environment).Value);
        Assert.Equal("job/x", Assert.Single(result.Files).Path);
        Assert.Equal(["203.0.113.0/24", "pypi.org:443"], result.Egress.Layers.SelectMany(layer => (layer.Allow ?? []).Concat(layer.Deny)).Select(rule => rule.Text));
        Assert.Equal(5, result.Egress.QuotaBytes);
    }

    [Fact]
    public void Validate_without_policies_uses_those_of_the_operator()
    {
        CheckedRequest result = Validator(new BoxerOptions { Egress = new EgressPolicy { Allow = ["198.51.100.7"] }, PullPolicy = PullPolicy.Always }).Validate(new("image", "true"));

        Assert.Equal((PullPolicy.Always, null, null, null), (result.PullPolicy, result.WorkingDirectory, result.User, result.Workspace));
        Assert.True(result.Egress.Allows(IPAddress.Parse("198.51.100.7"), 443));
        Assert.False(result.Egress.Allows(IPAddress.Parse("198.51.100.8"), 443));
    }

    [Theory]
    [InlineData(PullPolicy.Missing, null, PullPolicy.Missing)]
    [InlineData(PullPolicy.Missing, PullPolicy.Always, PullPolicy.Always)]
    [InlineData(PullPolicy.Always, PullPolicy.Never, PullPolicy.Never)]
    [InlineData(PullPolicy.Never, PullPolicy.Always, PullPolicy.Never)]
    public void Validate_PullPolicy_Never_of_the_operator_overrides_requests(PullPolicy configured, PullPolicy? requested, PullPolicy expected) =>
        Assert.Equal(expected, Validator(new BoxerOptions { PullPolicy = configured }).Validate(new("image", "true") { PullPolicy = requested }).PullPolicy);

    [Fact]
    public void Validate_a_wider_egress_policy_replaces_the_operators_only_if_allowed()
    {
        var narrow = new EgressPolicy { Allow = ["198.51.100.7"] };
        var wide = new SandboxRequest("image", "true") { Network = "sandbox", Egress = new EgressPolicy() };
        var other = IPAddress.Parse("198.51.100.8");

        Assert.False(Validator(new BoxerOptions { Egress = narrow }).Validate(wide).Egress.Allows(other, 443));
        Assert.True(Validator(new BoxerOptions { Egress = narrow, AllowWiderEgress = true }).Validate(wide).Egress.Allows(other, 443));
    }

    [Fact]
    public void CheckedOptions_Check_copies_and_parses_the_options()
    {
        var options = new BoxerOptions
        {
            Egress = new EgressPolicy { Allow = ["pypi.org"] },
            AllowedNetworks = ["none"],
            Pool = { Images = [new() { Image = "python", Count = 2, WarmUp = ["true"] }] },
        };
        CheckedOptions result = CheckedOptions.Check(options, Modes);
        options.Egress.Allow.Add("example.org");
        options.AllowedNetworks.Add("lab");
        options.Pool.Images[0].WarmUp.Add("x");

        Assert.Equal("pypi.org", Assert.Single(result.Egress.Allow!).Text);
        Assert.Equal(["none"], result.AllowedNetworks);
        Assert.Equal(["lab", "none", "sandbox"], result.Networks.Keys.Order(StringComparer.Ordinal));
        PoolImage image = Assert.Single(result.PoolImages);
        Assert.Equal((ImageReference.Parse("python"), 2, "true"), (image.Image, image.Count, Assert.Single(image.WarmUp)));
        Assert.Equal(LimitDefaults.Values.MemoryBytes, result.DefaultLimits.MemoryBytes);
        Assert.InRange(result.MemoryBytes, 1, long.MaxValue);
        Assert.Equal(["lab", "none", "sandbox"], CheckedOptions.Check(new BoxerOptions(), Modes).AllowedNetworks.Order(StringComparer.Ordinal));
        Assert.Throws<ArgumentException>(() => CheckedOptions.Check(new BoxerOptions { Egress = new EgressPolicy { Deny = ["a b"] } }, Modes));
    }

    private static RequestValidator Validator(BoxerOptions options)
    {
        var parsed = CheckedOptions.Check(options, Modes);
        return new RequestValidator(parsed.Networks, parsed.AllowedNetworks, parsed.DefaultLimits, options.MaxLimits, parsed.MemoryBytes, Environment.ProcessorCount)
        {
            Egress = parsed.Egress,
            AllowsWiderEgress = options.AllowWiderEgress,
            PullPolicy = options.PullPolicy,
        };
    }

    private sealed class NamedMode(string name) : INetworkMode
    {
        public string Name => name;

        public bool SupportsPooling => false;

        public bool SupportsEgressPolicy => true;

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
