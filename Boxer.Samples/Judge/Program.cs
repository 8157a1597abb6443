// Judges the submissions of a problem, and prints one line of JSON for each:
//
//   Judge [--mirror REGISTRY=URL]... FOLDER
//
// FOLDER contains problem.json, tests/NAME.in with tests/NAME.out, and submissions/. docs/judge.md explains the limits and the verdicts.
using System.Text.Encodings.Web;
using System.Text.Json;
using Boxer;
using Boxer.Hosting;
using Judge;

const int UsageExitCode = 2;
const int FailureExitCode = 125;

// A submission waits until its processors are free. This time does not count for its verdict.
var options = new BoxerOptions { QueueTimeout = TimeSpan.FromHours(1) };
var rest = new Queue<string>(args);
while (rest.TryPeek(out string? option) && option == "--mirror" && rest.Count > 1)
{
    rest.Dequeue();
    string[] mirror = rest.Dequeue().Split('=', 2);
    options.Registries.Add(new() { Name = mirror[0], Mirrors = [mirror[^1]] });
}

if (rest.Count != 1)
{
    await Console.Error.WriteLineAsync("usage: Judge [--mirror REGISTRY=URL]... FOLDER");
    return UsageExitCode;
}

var output = new JsonSerializerOptions { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
using var stopping = new CancellationTokenSource();
Console.CancelKeyPress += (_, pressed) =>
{
    pressed.Cancel = true;
    stopping.Cancel();
};
try
{
    var problem = Problem.Read(rest.Dequeue());
    await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
    var parallel = new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount * 4, CancellationToken = stopping.Token };
    await Parallel.ForEachAsync(problem.Submissions, parallel, async (submission, cancel) =>
    {
        Judgement judgement = await problem.JudgeAsync(runner, submission, cancel);
        await Console.Out.WriteLineAsync(JsonSerializer.Serialize(judgement, output));
    });
    return 0;
}
catch (Exception exception) when (exception is SandboxException or ArgumentException or IOException or UnauthorizedAccessException or JsonException or OperationCanceledException)
{
    await Console.Error.WriteLineAsync(exception.Message);
    return FailureExitCode;
}
