"""Where concepts come from and go to: folders, tables, and the databases of RePIC and RAP. All of it may be hostile."""
