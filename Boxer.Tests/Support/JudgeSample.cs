using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Boxer.Tests.Support;

/// <summary>Runs the judge sample on many copies of its example while the machine is under load.</summary>
internal static class JudgeSample
{
    private static readonly Dictionary<string, string> Verdicts = new(StringComparer.Ordinal)
    {
        ["right"] = "AC",
        ["wrong"] = "WA",
        ["spaces"] = "PLE",
        ["slow"] = "TLE",
        ["large"] = "MLE",
        ["broken"] = "RE",
    };

    // Kinds of the ten submissions.
    private static readonly string[] Mix = ["right", "wrong", "right", "slow", "spaces", "right", "large", "broken", "right", "wrong"];

    /// <summary>Judges submissions while two busy loops run on this host, and asserts that each verdict is right.</summary>
    /// <param name="image">The image of the submissions.</param>
    /// <param name="shared">Pulls the image, without the load.</param>
    /// <param name="submissions">The number of submissions.</param>
    internal static async Task AssertVerdictsAsync(PythonImage image, SharedRunner shared, int submissions)
    {
        await shared.PullAsync();
        string folder = Directory.CreateTempSubdirectory("boxer-judge-").FullName;
        Process[] load = [HostProgram.Start("sh", "-c", "while :; do :; done"), HostProgram.Start("sh", "-c", "while :; do :; done")];
        try
        {
            string problem = MakeProblem(folder, submissions);
            string printed = await HostProgram.RunAsync(
                "env", $"HOME={image.UserHome}", "dotnet", Path.Join(AppContext.BaseDirectory, "Judge.dll"), "--mirror", $"docker.io={image.Url}", problem);

            JsonNode[] judgements = [.. printed.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!)];
            Assert.Equal(submissions, judgements.Select(one => (string)one["submission"]!).Distinct(StringComparer.Ordinal).Count());
            Assert.Empty(judgements.Where(one => (string)one["verdict"]! != Verdicts[((string)one["submission"]!).Split('-')[1]]).Select(one => one.ToJsonString()));
        }
        finally
        {
            foreach (Process one in load)
            {
                one.Kill();
                await one.WaitForExitAsync();
                one.Dispose();
            }

            Directory.Delete(folder, recursive: true);
        }
    }

    private static string MakeProblem(string folder, int submissions)
    {
        string example = Path.Join(AppContext.BaseDirectory, "judge-example");
        string problem = Path.Join(folder, "problem");
        Directory.CreateDirectory(Path.Join(problem, "tests"));
        Directory.CreateDirectory(Path.Join(problem, "submissions"));
        foreach (string file in (string[])["problem.json", "tests/1.in", "tests/1.out"])
        {
            File.Copy(Path.Join(example, file), Path.Join(problem, file));
        }

        for (int i = 0; i < submissions; i++)
        {
            string kind = Mix[i % Mix.Length];
            File.Copy(Path.Join(example, "submissions", kind + ".py"), Path.Join(problem, "submissions", $"{i:000}-{kind}-.py"));
        }

        return problem;
    }
}
