await WebTerminal.TerminalApp.Build(args).RunAsync();
