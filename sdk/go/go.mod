module bumpless

go 1.19
