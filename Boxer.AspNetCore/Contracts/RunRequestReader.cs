using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Reads the body of a run request. A new field needs a line in the table, and a member of <see cref="RunRequestBody"/>.</summary>
internal static class RunRequestReader
{
    internal static readonly string[] OutputKinds = ["none", "inline", "keep"];

    private static readonly Fields<RunRequestBody> Run = FieldsOf(SettingTable.BuiltIn);

    /// <summary>Reads a request.</summary>
    /// <param name="body">The body; read to its end.</param>
    /// <param name="networks">The network modes that the client may use.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <param name="table">The settings; <see langword="null"/> for the built-in table.</param>
    /// <exception cref="HttpFaultException">The body is invalid (400). The message lists all faults.</exception>
    public static Task<RunRequestBody> ReadAsync(Stream body, IReadOnlyList<string> networks, CancellationToken cancellationToken, SettingTable? table = null)
    {
        RunRequestBody run = new() { Image = "", Cmd = [] };
        return JsonBody.ReadAsync(body, table is null ? Run : FieldsOf(table), run, Check, cancellationToken);

        void Check(StrictReader reader, JsonElement read)
        {
            CheckNetwork(reader, run.Network, networks, "this host");
            if (run.WorkspaceOut == true && !reader.Has(read, "workspace", out _))
            {
                reader.Fault("workspace_out", "needs a workspace; add one, which may be {}");
            }
        }
    }

    /// <summary>Adds a fault if a network mode is not allowed.</summary>
    /// <param name="reader">Receives the fault.</param>
    /// <param name="network">The network mode; <see langword="null"/> for the default.</param>
    /// <param name="networks">The allowed network modes.</param>
    /// <param name="owner">The owner of the networks, for the message.</param>
    internal static void CheckNetwork(StrictReader reader, string? network, IReadOnlyList<string> networks, string owner)
    {
        if (network is not null && !networks.Contains(network, StringComparer.Ordinal))
        {
            reader.Fault("network", $"{StrictReader.Quote(network)} is not a network of {owner}; use one of {string.Join(", ", networks)}");
        }
    }

    private static Fields<RunRequestBody> FieldsOf(SettingTable table) => new Fields<RunRequestBody>()
        .Add("image", RequestKinds.Image, (run, image) => run.Image = image, missing: "is missing; name an image such as python:3.12-slim")
        .Add("cmd", RequestKinds.Command, (run, command) => run.Cmd = command, missing: "is missing; list the program and its arguments")
        .Add("env", RequestKinds.Environment, (run, environment) => run.Env = environment)
        .Add("cwd", RequestKinds.Directory, (run, directory) => run.Cwd = directory)
        .Add("limits", RequestKinds.Limits(table), (run, values) => run.Limits = values)
        .Add("files", RequestKinds.Uploads, (run, files) => run.Files = files)
        .Add("inputs", RequestKinds.Inputs, (run, inputs) => run.Inputs = inputs)
        .Add("workspace", RequestKinds.Workspace, (run, workspace) => run.Workspace = workspace)
        .Add("workspace_out", Kind.Flag, (run, comesBack) => run.WorkspaceOut = comesBack)
        .Add("stdin", Kind.Text(allowNul: true), (run, stdin) => run.Stdin = stdin)
        .Add("stdin_base64", Kind.Base64, (run, stdin) => run.StdinBase64 = stdin, excludes: "stdin")
        .Add("merge_stderr", Kind.Flag, (run, merge) => run.MergeStderr = merge)
        .Add("terminal", RequestKinds.Terminal, (run, terminal) => run.Terminal = terminal)
        .Add("stop_grace_ms", RequestKinds.StopGrace, (run, milliseconds) => run.StopGraceMs = (int?)milliseconds)
        .Add("user", RequestKinds.Name, (run, user) => run.User = user)
        .Add("persist", Kind.Flag, (run, persist) => run.Persist = persist)
        .Add("outputs", Kind.Choice(OutputKinds, RequestKinds.Name), (run, outputs) => run.Outputs = outputs)
        .Add("network", RequestKinds.Name, (run, network) => run.Network = network)
        .Add("egress", RequestKinds.Egress, (run, egress) => run.Egress = egress)
        .Add("pull", RequestKinds.Pull, (run, pull) => run.Pull = pull);
}
