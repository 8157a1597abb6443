using Boxer.AspNetCore.Running;
using Boxer.Validation;
using Microsoft.AspNetCore.Http;

namespace Boxer.Tests.AspNetCore;

/// <summary>Tests that faults use the field names of clients and operators, and that sentences are otherwise unchanged.</summary>
public sealed class FieldNamesTests
{
    [Theory]
    [InlineData("Limits.MemoryBytes", "limits.memory_mb")]
    [InlineData("Limits.OutputFilesCount", "outputs_limit_files")]
    [InlineData("Limits", "limits")]
    [InlineData("Egress", "egress")]
    [InlineData("Egress.Allow[3]", "egress.allow[3]")]
    [InlineData("Egress.BandwidthBitsPerSecond", "egress.bandwidth_bps")]
    [InlineData("Environment[A.B[0]]", "env[A.B[0]]")]
    [InlineData("Files[1].Path", "files[1]")]
    [InlineData("Files[2].Path", "inputs[0].path")]
    [InlineData("Files[5]", "inputs[3]")]
    [InlineData("Workspace.Path", "workspace.path")]
    [InlineData("Workspace.Inputs[0].Files[7].Path", "workspace.files[7].path")]
    [InlineData("Workspace.Inputs[1].Files[7].Path", "workspace.uploads")]
    [InlineData("Workspace.Inputs[2]", "workspace.archive")]
    [InlineData("Workspace.Uploads[4]", "workspace.uploads[4]")]
    [InlineData("StandardInputStream", "stdin")]
    [InlineData("StopGrace", "stop_grace_ms")]
    public void A_field_of_a_request_is_named_as_in_its_body(string field, string name)
    {
        DefaultHttpContext context = new();
        FieldNames.SetUploadCount(context, 2);

        Assert.Equal($"{name}: is bad.", FieldNames.OfRequest(new InvalidSandboxRequestException(field, "is bad."), context));
    }

    [Fact]
    public void Other_fields_in_a_message_are_named_as_in_the_body_and_words_of_the_client_stay()
    {
        InvalidSandboxRequestException exception = new(
            new SandboxFault("StopGrace", "and {0} together must be at most 5 s, as {1} says.", ["Limits.WallClock", "MaxLimits.WallClock"]),
            new SandboxFault("Limits.OutputFilesBytes", "must be less where {0} are kept.", ["OutputFiles"]),
            new SandboxFault("Files[0].Path", "'StopGrace/MaxLimits.WallClock' is there twice, as StandardInput."));

        Assert.Equal(
            "stop_grace_ms: and limits.wall_clock_secs together must be at most 5 s, as max_limits.wall_clock_secs says. outputs_limit_bytes: must be less where outputs are kept. files[0]: 'StopGrace/MaxLimits.WallClock' is there twice, as StandardInput.",
            FieldNames.OfRequest(exception, new DefaultHttpContext()));
    }

    [Theory]
    [InlineData("DefaultLimits.MemoryBytes: is 5.", "defaults.memory_mb: is 5.")]
    [InlineData("MaxLimits.WallClock: is 5.", "max_limits.wall_clock_secs: is 5.")]
    [InlineData("DefaultLimits.StandardOutputBytes: is 5.", "output_limit_bytes: is 5.")]
    [InlineData("Pool.Images[3].WarmUp: is 5.", "pool.images[3].warm_up: is 5.")]
    [InlineData("Registries[0].Mirrors[1]: is 5.", "registries[0].mirrors[1]: is 5.")]
    [InlineData("MaxMemoryBytes: is 1; raise it, or lower PullMemoryBytes or DefaultLimits.MemoryBytes.", "max_memory_mb: is 1; raise it, or lower pull_memory_mb or defaults.memory_mb.")]
    [InlineData("BoxerOptions.Home: is /Home/MaxLimits.", "home: is /Home/MaxLimits.")]
    [InlineData("MaxUploadBytes: is 0.", "upload_limit_bytes: is 0.")]
    [InlineData("Unknown.Thing[1]: Images and Pool and Network stay.", "Unknown.Thing[1]: Images and Pool and Network stay.")]
    public void A_fault_of_options_is_named_as_in_the_configuration(string fault, string named) => Assert.Equal(named, FieldNames.OfOptions(fault));

    [Fact]
    public void A_sentence_about_the_machine_names_options_as_the_configuration_does() => Assert.Equal(
        "too few: lower max_concurrent_runs, pool.max_sandboxes and sessions.max_memory_mb.",
        FieldNames.OfMachine("too few: lower MaxConcurrentRuns, Pool.MaxSandboxes and Sessions.MaxMemoryBytes."));

    [Fact]
    public void Each_option_of_the_table_has_a_key()
    {
        foreach (Setting setting in SettingTable.BuiltIn.Options)
        {
            Assert.Equal($"{setting.HostKey ?? setting.HttpKey}: is bad.", FieldNames.OfOptions($"{setting.Name}: is bad."));
        }
    }
}
