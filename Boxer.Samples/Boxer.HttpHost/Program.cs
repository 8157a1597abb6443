using Boxer.HttpHost;

return await HostProgram.RunAsync(args, Environment.GetEnvironmentVariables(), Console.Out, Console.Error);
