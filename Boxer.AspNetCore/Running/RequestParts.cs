using System.Text;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.AspNetCore.Running;

/// <summary>Turns the parts that bodies of runs, sessions and commands have in common into those of requests.</summary>
internal static class RequestParts
{
    public static PullPolicy? PullPolicyOf(string? pull) => pull is null ? null : Enum.Parse<PullPolicy>(pull, ignoreCase: true);

    public static EgressPolicy? EgressOf(EgressBody? egress) => egress is null
        ? null
        : new EgressPolicy
        {
            Allow = egress.Allow is null ? null : [.. egress.Allow],
            Deny = [.. egress.Deny ?? []],
            BandwidthBitsPerSecond = egress.BandwidthBps,
            QuotaBytes = egress.QuotaBytes,
        };

    // FieldNames maps faults of these inputs by their order.
    public static SandboxWorkspace? WorkspaceOf(WorkspaceBody? workspace, RunFiles files)
    {
        if (workspace is null)
        {
            return null;
        }

        SandboxWorkspace created = new()
        {
            Inputs = { SandboxInput.FromFiles(FilesOf(workspace.Files)), SandboxInput.FromFiles(files.WorkspaceFiles) },
        };
        created.Path = workspace.Path ?? created.Path;
        if (files.WorkspaceArchive is { } archive)
        {
            created.Inputs.Add(archive);
        }

        return created;
    }

    public static IEnumerable<SandboxFile> FilesOf(IReadOnlyList<InputBody>? inputs) => (inputs ?? []).Select(input =>
    {
        SandboxFile file = input.ContentBase64 is { } bytes ? SandboxFile.FromBytes(input.Path, bytes) : SandboxFile.FromText(input.Path, input.Content ?? "");
        file.Executable = input.Executable ?? false;
        return file;
    });

    public static byte[] StandardInputOf(string? text, byte[]? bytes) => bytes ?? Encoding.UTF8.GetBytes(text ?? "");

    public static SandboxTerminal? TerminalOf(TerminalBody? terminal) => terminal is null ? null : new SandboxTerminal(terminal.Cols, terminal.Rows);

    public static void SetVariables(IDictionary<string, string> environment, IReadOnlyList<string>? variables)
    {
        foreach (string variable in variables ?? [])
        {
            int equals = variable.IndexOf('=', StringComparison.Ordinal);
            environment[variable[..equals]] = variable[(equals + 1)..];
        }
    }
}
