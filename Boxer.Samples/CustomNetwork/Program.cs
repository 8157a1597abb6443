// Runs one command in a sandbox that can reach only the machines of a prepared network:
//
//   CustomNetwork LAB BRIDGE IMAGE COMMAND [ARG...]
//
// docs/network.md explains how to prepare a lab.
using System.Net;
using Boxer;
using Boxer.Hosting;
using CustomNetwork;
using Microsoft.Extensions.DependencyInjection;

const int UsageExitCode = 2;
const int FailureExitCode = 125;
if (args.Length < 4)
{
    await Console.Error.WriteLineAsync("usage: CustomNetwork LAB BRIDGE IMAGE COMMAND [ARG...]");
    return UsageExitCode;
}

var machines = new Dictionary<string, IPAddress>(StringComparer.Ordinal) { ["web.lab"] = IPAddress.Parse("10.77.0.1") };
try
{
    await using SandboxRunner runner = SandboxRunnerFactory.Create(configure: boxer => boxer.AddNetworkMode(new LabNetworkMode(args[0], args[1], "10.77.0", machines)));
    SandboxResult result = await runner.RunAsync(new SandboxRequest(args[2], args[3..]) { Network = "lab" });
    await Console.Out.WriteAsync(result.StandardOutput);
    await Console.Error.WriteAsync(result.StandardError);
    await Console.Error.WriteLineAsync($"{result.Network?.BytesIn} bytes in, {result.Network?.BytesOut} bytes out");
    return result.ExitCode;
}
catch (SandboxException exception)
{
    await Console.Error.WriteLineAsync(exception.Message);
    return FailureExitCode;
}
