using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Each curl command of docs/requests.md works as written, except for the address of the host.</summary>
[Collection(Sandboxes.Name)]
public sealed class RequestPageTests(PythonImage image)
{
    [Fact]
    public async Task Every_command_of_the_page_does_what_it_says()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("curl"), "Needs curl in PATH.");
        CancellationToken cancel = TestContext.Current.CancellationToken;
        await using HostProcess host = await HostProcess.StartAsync(image);
        string directory = Directory.CreateTempSubdirectory("boxer-page-").FullName;
        try
        {
            await File.WriteAllTextAsync(Path.Join(directory, "run.sh"), "#!/bin/sh\necho ran\n", cancel);
            Directory.CreateDirectory(Path.Join(directory, "project"));
            await File.WriteAllTextAsync(Path.Join(directory, "project/build.sh"), "echo built | tee result\n", cancel);
            string[] commands = [.. (await File.ReadAllLinesAsync(Path.Join(AppContext.BaseDirectory, "docs/requests.md"), cancel)).Where(line => line.Contains("curl -s ", StringComparison.Ordinal))];
            List<string> said = [];
            foreach (string command in commands)
            {
                string answer = await HostProgram.RunAsync("sh", "-ec", $"cd {directory}; {command.Replace("localhost:8080", new Uri(host.Address).Authority, StringComparison.Ordinal)}");
                JsonNode body = JsonNode.Parse(answer)!;
                said.Add(body["path"] is { } path ? (string)path! : $"{(int?)body["exit_code"]} {(string?)body["stdout"]}{(string?)body["stderr"]}{(body["workspace_base64"] is null ? "" : "changed")}{(string?)body["outputs"]?.AsArray().FirstOrDefault()?["path"]}");
            }

            Assert.Equal(["0 hello\n", "0 1\n2\n", "job/run.sh", "0 ran\n", "project.tar.gz", "0 built\nchanged", "0 42\n", "0 now"], said);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
