using System.Text.Json;
using Boxer;

namespace Judge;

/// <summary>Contents of problem.json. Limits that are not set have Boxer's defaults.</summary>
internal sealed record Settings
{
    public required string Image { get; init; }

    /// <summary>The command that runs a submission, which is the file /job/submission.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>Maximum processor time of a submission for one test, in seconds. It decides the verdict.</summary>
    public required double CpuTimeSecs { get; init; }

    /// <summary>Maximum wall-clock time for one test, in seconds, for submissions that sleep. Use several times the processor time.</summary>
    public double? WallClockSecs { get; init; }

    public int? MemoryMb { get; init; }

    public long? OutputBytes { get; init; }

    public int? PidsLimit { get; init; }
}

/// <summary>A folder with a problem, its tests and its submissions.</summary>
internal sealed class Problem
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };
    private readonly Settings _settings;
    private readonly IReadOnlyList<(string Name, byte[] Input, string Output)> _tests;

    private Problem(Settings settings, IReadOnlyList<(string, byte[], string)> tests, IReadOnlyList<string> submissions)
    {
        _settings = settings;
        _tests = tests;
        Submissions = submissions;
    }

    /// <summary>Paths of the submissions.</summary>
    public IReadOnlyList<string> Submissions { get; }

    public static Problem Read(string folder)
    {
        Settings settings = JsonSerializer.Deserialize<Settings>(File.ReadAllBytes(Path.Join(folder, "problem.json")), Json)!;
        List<(string, byte[], string)> tests = [];
        foreach (string input in Directory.GetFiles(Path.Join(folder, "tests"), "*.in").Order(StringComparer.Ordinal))
        {
            tests.Add((Path.GetFileNameWithoutExtension(input), File.ReadAllBytes(input), File.ReadAllText(Path.ChangeExtension(input, ".out"))));
        }

        return new Problem(settings, tests, [.. Directory.GetFiles(Path.Join(folder, "submissions")).Order(StringComparer.Ordinal)]);
    }

    /// <summary>Runs one submission on the tests in order, until it fails one.</summary>
    public async Task<Judgement> JudgeAsync(ISandboxRunner runner, string submission, CancellationToken cancellationToken)
    {
        string name = Path.GetFileName(submission);
        double most = 0;
        foreach ((string test, byte[] input, string expected) in _tests)
        {
            var request = new SandboxRequest(_settings.Image, _settings.Command)
            {
                StandardInput = input,
                Network = "none",
                OutputFiles = OutputFilePolicy.Discard,
                Files = { SandboxFile.FromHostFile("job/submission", submission) },
                Limits =
                {
                    CpuTime = TimeSpan.FromSeconds(_settings.CpuTimeSecs),
                    WallClock = _settings.WallClockSecs is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
                    MemoryBytes = _settings.MemoryMb * ByteSize.MiB,
                    StandardOutputBytes = _settings.OutputBytes,
                    Pids = _settings.PidsLimit,
                },
            };
            SandboxResult result;
            try
            {
                result = await runner.RunAsync(request, cancellationToken);
            }
            catch (SandboxException exception)
            {
                return new Judgement(name, Verdicts.InternalError, test, most, exception.Message);
            }

            most = Math.Max(most, result.Usage.Cpu?.TotalSeconds ?? 0);
            string verdict = Verdicts.Of(result, expected);
            if (verdict != Verdicts.Accepted)
            {
                return new Judgement(name, verdict, test, most, result.Termination.Message);
            }
        }

        return new Judgement(name, Verdicts.Accepted, null, most, null);
    }
}

/// <summary>The verdict on a submission, as printed.</summary>
/// <param name="Submission">Name of the file.</param>
/// <param name="Verdict">See <see cref="Verdicts"/>.</param>
/// <param name="Test">The test that it failed; <see langword="null"/> if it passed all.</param>
/// <param name="CpuSecs">Maximum processor time that it used for a test, in seconds.</param>
/// <param name="End">The end of its last run.</param>
internal sealed record Judgement(string Submission, string Verdict, string? Test, double CpuSecs, string? End);
