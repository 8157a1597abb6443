// Calls every endpoint with the client that Kiota generated: dotnet GeneratedClient.dll ADDRESS KEY
using System.Text;
using Generated;
using Generated.Models;
using Microsoft.Kiota.Abstractions;
using Microsoft.Kiota.Abstractions.Authentication;
using Microsoft.Kiota.Http.HttpClientLibrary;

using var http = new HttpClient();
http.DefaultRequestHeaders.Add("X-API-Key", args[1]);
var client = new BoxerClient(new HttpClientRequestAdapter(new AnonymousAuthenticationProvider(), httpClient: http) { BaseUrl = args[0] });

Require((await client.Healthz.GetAsync())?.Ok == true, "healthz");
Require((await client.Health.Ready.GetAsync())?.Ready == true, "ready");

var form = new MultipartBody();
form.AddOrReplacePart("file", "application/octet-stream", new MemoryStream(Encoding.UTF8.GetBytes("print(6 * 7)")), "main.py");
form.AddOrReplacePart("path", "text/plain", "job/main.py");
Require((await client.Files.PostAsync(form))?.Path == "job/main.py", "upload");
using (var reader = new StreamReader((await client.Files.GetAsync(request => request.QueryParameters.Path = "job/main.py"))!))
{
    Require(await reader.ReadToEndAsync() == "print(6 * 7)", "download");
}

RunResult run = (await client.Run.PostAsync(new RunRequest
{
    Image = "python:3.12-slim",
    Cmd = ["python3", "/job/main.py"],
    Files = ["job/main.py"],
    Persist = true,
    Limits = new Limits { MemoryMb = 128, WallClockSecs = 20 },
    Outputs = RunRequest_outputs.None,
}))!;
Require(run is { ExitCode: 0, Stdout: "42\n", Termination: RunResult_termination.Exited, Usage: not null }, "run");

using (var reader = new StreamReader((await client.Run.Stream.PostAsync(new RunRequest { Image = "python:3.12-slim", Cmd = ["python3", "-c", "print(1)"] }))!))
{
    string events = await reader.ReadToEndAsync();
    Require(events.StartsWith("event: started\n", StringComparison.Ordinal) && events.Contains("event: end\n", StringComparison.Ordinal), "stream");
}

Require((await client.Files.DeleteAsync(request => request.QueryParameters.Path = "job/main.py"))?.Path == "job/main.py", "delete");
try
{
    await client.Run.PostAsync(new RunRequest { Image = "python:3.12-slim", Cmd = [] });
    Require(false, "a command is needed");
}
catch (RunError error)
{
    Require(error.ResponseStatusCode == 400 && error.Error == "cmd: is empty; list the program and its arguments.", "bad request");
}

Console.WriteLine("all endpoints");

static void Require(bool condition, string what)
{
    if (!condition)
    {
        throw new InvalidOperationException($"{what} did not come as the description says.");
    }
}
